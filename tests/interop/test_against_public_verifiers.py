"""Two verifiers written by others reach our verdict about signatures, chain and chip.

They are run from an environment of their own, because they bring 45 packages that nothing
else here wants:

    python3 -m venv peers && peers/bin/pip install tinfoil==0.14.0 omne-attest==0.1.0
    CONFIDE_PEER_PYTHON=peers/bin/python python -m pytest \\
        tests/interop/test_against_public_verifiers.py

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
            parts = {
                n: (VECTORS / case["files"][n]).read_bytes() for n in ("report", "leaf", "chain")
            }
            chain = der_blocks(parts["chain"])
            yield case["id"], {**parts, "leaf": der_blocks(parts["leaf"])[0], "chain": chain[:2]}


def tdx_cases():
    for path in sorted(VECTORS.glob("tdx/*/quote.bin")):
        yield path.parent.name, {"quote": path.read_bytes()}


# Why they refuse what is genuine, by the words they use.
GENOA_ONLY = "This implementation only supports Genoa"
NOT_GENOA_KEY = "not verified"  # "unexpected PRODUCT_NAME_1 in VCEK certificate: Milan-B0"
NO_VLEK_TINFOIL = "only supports VCEK signed reports"
NO_VLEK_OMNE = "missing required AMD extension"
NO_V5 = "QuoteV5 is not supported"
LONG_CHIP_ID = "belongs to a different chip"  # Turin certifies 8 bytes of the chip's identifier

REFUSED_BY_THEM_ONLY = {
    ("omne", "snp-milan-v3-vlek"): NO_VLEK_OMNE,
    ("omne", "minted Turin"): LONG_CHIP_ID,
    ("tinfoil-snp", "snp-milan-v2"): NOT_GENOA_KEY,
    ("tinfoil-snp", "snp-milan-v2b"): NOT_GENOA_KEY,
    ("tinfoil-snp", "snp-milan-v2-debug"): NOT_GENOA_KEY,
    ("tinfoil-snp", "snp-milan-v3"): GENOA_ONLY,
    ("tinfoil-snp", "snp-milan-v3-reissued-vcek"): GENOA_ONLY,
    ("tinfoil-snp", "snp-milan-v3-vlek"): NO_VLEK_TINFOIL,
    ("tinfoil-tdx", "v5-tcb-no-match"): NO_V5,
    ("tinfoil-tdx", "v5-uptodate"): NO_V5,
}
WORLDS = {"Milan": World(product="Milan"), "Genoa": World(), "Turin": TURIN_WORLD}


def minted_cases():
    for product, world in WORLDS.items():
        chain = der_blocks(world.chain)[:2]
        yield f"minted {product}", {"report": world.report, "leaf": world.vek, "chain": chain}


def changed_cases(cases, role, offsets):
    for name, files in cases:
        for offset in offsets:
            raw = bytearray(files[role])
            raw[offset] ^= 1
            yield f"{name}, {role} changed at {offset}", {**files, role: bytes(raw)}


def differences(verifier, cases, ours):
    """Compare verdicts; return where they refuse what we accept. The reverse fails here."""
    cases = [*cases]
    found = {}
    for (name, files), said in zip(cases, asked([(verifier, f) for _, f in cases]), strict=True):
        accepted = ours(name, files)
        assert accepted or said is not None, f"{verifier} accepts {name}, and we do not"
        if accepted and said is not None:
            found[verifier, name] = said
    return found


def ours_snp(name, files):
    world = WORLDS.get(name.removeprefix("minted ").split(",")[0])
    if world is not None:
        return we_accept_snp(files, NOW, world.roots)
    # They look at no dates of AMD's, and the recorded VLEK has ended since.
    return we_accept_snp(files, datetime(2025, 1, 1, tzinfo=UTC) if "vlek" in name else TODAY)


def expected(*verifiers):
    return {key: words for key, words in REFUSED_BY_THEM_ONLY.items() if key[0] in verifiers}


def agrees(found, known):
    assert found.keys() == known.keys()
    assert [key for key, words in known.items() if words not in found[key]] == []


def test_omne_differs_about_vlek_and_turin_only():
    cases = [*snp_cases(), *minted_cases()]
    known = expected("omne")
    # One recorded VLEK is listed twice: at two times, of which they look at none.
    known["omne", "snp-milan-v3-vlek-expired"] = NO_VLEK_OMNE
    agrees(differences("omne", cases, ours_snp), known)


def test_tinfoil_accepts_genoa_version_3_and_differs_about_every_other_genuine_report():
    known = expected("tinfoil-snp")
    known["tinfoil-snp", "snp-milan-v3-vlek-expired"] = NO_VLEK_TINFOIL
    agrees(differences("tinfoil-snp", snp_cases(), ours_snp), known)


def test_tinfoil_agrees_about_the_signatures_of_every_version_4_quote():
    found = differences("tinfoil-tdx", tdx_cases(), lambda _, files: we_accept_tdx(files))
    agrees(found, expected("tinfoil-tdx"))


@pytest.mark.parametrize("verifier", ["omne", "tinfoil-snp"])
def test_both_refuse_a_changed_genoa_report_and_a_changed_certificate(verifier):
    (genoa,) = [case for case in snp_cases() if case[0] == "snp-genoa-v3"]
    cases = [
        *changed_cases([genoa], "report", (0x04, 0x50, 0x90, 0x180, 0x1A0, 0x29F, 0x2A0, 0x2E8)),
        *changed_cases([genoa], "leaf", (300, 700, 1300)),
    ]
    assert not any(ours_snp(name, files) for name, files in cases)
    assert differences(verifier, cases, ours_snp) == {}


def test_both_refuse_a_changed_quote():
    (quote,) = [case for case in tdx_cases() if case[0] == "v4-uptodate"]
    cases = [*changed_cases([quote], "quote", (0, 12, 60, 200, 600, 640, 700, 800, 1200, 2500))]
    assert not any(we_accept_tdx(files) for _, files in cases)
    assert differences("tinfoil-tdx", cases, lambda _, files: we_accept_tdx(files)) == {}
