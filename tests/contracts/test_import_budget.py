"""`import confide` is quick and pulls in no extra; `confide --help` imports no command."""

import json
import statistics
import subprocess
import sys

import pytest

BUDGET_S = 0.150
ROUNDS = 5

# Modules that only an extra brings, or that a program importing the SDK should not pay for.
FORBIDDEN = {
    "aiohttp",
    "alembic",
    "jwt",
    "keyring",
    "lxml",
    "numpy",
    "openai",
    "pydantic_settings",
    "sevsnpmeasure",
    "shamir_mnemonic",
    "sigstore",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "xllamacpp",
}

# The libraries of the base install are the caller's already; what confide adds is measured.
MEASURE = """
import sys, time
import click, cryptography.hazmat.primitives.asymmetric.x25519, httpx2, pydantic
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""

LIST = "import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"


def run(code):
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return found.stdout


def seconds(code):
    start = "import time; start = time.perf_counter()\n"
    return float(run(f"{start}{code}\nprint(time.perf_counter() - start)"))


def test_importing_confide_takes_less_than_150_ms():
    times = [seconds("import confide") for _ in range(ROUNDS)]
    assert statistics.median(times) < BUDGET_S, times


@pytest.mark.parametrize("module", ["confide", "confide.client", "confide.cli.main"])
def test_importing_pulls_in_no_extra(module):
    loaded = {name.partition(".")[0] for name in json.loads(run(LIST.format(module=module)))}
    assert loaded.isdisjoint(FORBIDDEN), loaded & FORBIDDEN


def test_a_process_that_relays_loads_nothing_that_opens():
    """What the import contract says of the source, seen in a running interpreter."""
    loaded = set(json.loads(run(LIST.format(module="confide.relay"))))
    opening = {"crypto", "sealing", "dialects", "client", "enclave", "attest", "asgi"}
    assert loaded.isdisjoint({f"confide.{name}" for name in opening})
    assert loaded.isdisjoint({"cryptography", "httpx2", "sqlalchemy", "starlette", "uvicorn"})
    assert "confide.gateway.relay" in loaded


def test_the_help_imports_no_command():
    code = """
import json, sys
from confide.cli.main import main
try:
    main(["--help"])
except SystemExit:
    pass
names = [n for n in sys.modules if n.startswith("confide.cli.")]
print(json.dumps(names))
"""
    loaded = json.loads(run(code).splitlines()[-1])
    assert set(loaded) == {"confide.cli.main", "confide.cli.output"}
