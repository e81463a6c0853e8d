"""Who may import whom: the contracts hold, and each one has teeth."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "confide"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]

# Contract, module that gets one more import, the import. The second blindness case goes by
# an indirect path: a harmless-looking tool that the gateway uses reaches a cipher.
BAD_IMPORTS = [
    ("Rooms and tools form one ladder", "wire/suites.py", "import confide.crypto.hpke"),
    ("Rooms and tools form one ladder", "identity/__init__.py", "import confide.gateway"),
    ("The gateway is blind", "gateway/relay.py", "import confide.sealing.exchange"),
    ("The gateway is blind", "wire/metadata.py", "import confide.crypto.hpke"),
    ("The gateway is blind", "identity/__init__.py", "import confide.dialects"),
    ("The relay of a user's own server is blind", "relay/forward.py", "import confide.sealing"),
    ("The relay of a user's own server is blind", "relay/app.py", "import confide.client.flow"),
    ("The relay of a user's own server is blind", "wire/problems.py", "import confide.dialects"),
    ("The relay of a user's own server is blind", "gateway/upstream.py", "import cryptography"),
    (
        "The enclave's trusted computing base is small",
        "enclave/app.py",
        "import confide.identity",
    ),
    (
        "Only sealing, the enclave keyring and the client keystore use crypto",
        "enclave/intake.py",
        "import confide.crypto.hpke",
    ),
    ("The relay cannot parse a body", "gateway/relay.py", "import json"),
    ("The relay cannot parse a body", "relay/forward.py", "import json"),
    (
        "Clients verify evidence, they do not collect it",
        "client/flow.py",
        "import confide.attest.platforms.simulated.collect",
    ),
    *(
        ("Clients verify evidence, they do not collect it", module, f"import confide.attest.{name}")
        for module, name in (
            ("client/flow.py", "collector"),
            ("client/flow.py", "platforms.hardware"),
            ("proxy/app.py", "platforms.machine"),
            ("proxy/app.py", "platforms.tsm"),
            ("client/flow.py", "platforms.snp.collect"),
            ("client/flow.py", "platforms.snp.device"),
            ("client/flow.py", "platforms.tdx.collect"),
            ("client/flow.py", "platforms.azure.collect"),
            ("client/flow.py", "platforms.azure.tpm"),
            ("client/flow.py", "platforms.nvidia.collect"),
            ("client/flow.py", "platforms.nvidia.nvml"),
        )
    ),
    # The verifier, which clients do import, must not bring a collector along.
    (
        "Clients verify evidence, they do not collect it",
        "attest/platforms/snp/verifier.py",
        "import confide.attest.platforms.snp.collect",
    ),
    (
        "Only composition roots, the one-machine stack and the CLI read settings",
        "enclave/handlers/__init__.py",
        "import confide.config.sources",
    ),
    (
        "Production code does not import the one-machine stack",
        "apps/__init__.py",
        "import confide.local",
    ),
    (
        "Simulated evidence is reachable from the one-machine stack only",
        "apps/__init__.py",
        "import confide.attest.platforms.simulated.verify",
    ),
    (
        "Simulated evidence is reachable from the one-machine stack only",
        "attest/verifier.py",
        "import confide.attest.platforms.simulated.verify",
    ),
    ("The SDK carries no server framework and no heavy library", "client/flow.py", "import numpy"),
    ("Verifying needs no network", "attest/collateral/cache.py", "import httpx2"),
    (
        "Vendors are asked by the command line only",
        "client/flow.py",
        "import confide.client.vendors",
    ),
    ("No cycles between siblings", "errors.py", "import confide.wire.suites"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the package in `folder`/src."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    environment = dict(os.environ, PYTHONPATH=os.fspath(folder / "src"), NO_COLOR="1")
    return subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package that a test may spoil."""
    folder = tmp_path_factory.mktemp("architecture")
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.gguf", "*.bin")
    shutil.copytree(PACKAGE, folder / "src" / "confide", ignore=ignored)
    return folder


@pytest.fixture
def spoilt(copy):
    """Add one import to one module of the copy; put the module back afterwards."""
    before = {}

    def spoil(module, statement):
        path = copy / "src" / "confide" / module
        before[path] = path.read_text()
        path.write_text(f"{before[path]}\n{statement}\n")
        return copy

    yield spoil
    for path, text in before.items():
        path.write_text(text)


def test_every_contract_is_kept():
    found = lint(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    BAD_IMPORTS,
    ids=[f"{module} {statement}" for _, module, statement in BAD_IMPORTS],
)
def test_one_bad_import_breaks_the_contract(spoilt, contract, module, statement):
    found = lint(spoilt(module, statement))
    assert f"{contract} BROKEN" in found.stdout, found.stdout + found.stderr


def test_every_contract_has_a_bad_import_here():
    assert {contract["name"] for contract in CONTRACTS} == {name for name, _, _ in BAD_IMPORTS}
