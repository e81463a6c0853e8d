"""The openssl command line reaches the same verdict about chains and signatures."""

import base64
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from confide.attest.platforms.snp.chain import Authority, authenticate_report
from confide.attest.platforms.snp.revocation import RevocationList
from confide.errors import AttestationError

pytestmark = pytest.mark.interop

VECTORS = Path(__file__).parents[1] / "vectors" / "attestation"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())
CASES = {case["id"]: case for case in MANIFEST["cases"] if case["platform"] == "sev-snp"}
AT = datetime(2025, 10, 1, tzinfo=UTC)
OPENSSL = shutil.which("openssl")
POLICY_ONLY = {"snp.debug_allowed", "snp.crl_expired", "snp.crl_signature"}

if OPENSSL is None:
    pytest.skip("no openssl; install it: apt-get install openssl", allow_module_level=True)


def run(*words, folder):
    return subprocess.run(
        [OPENSSL, *words], cwd=folder, capture_output=True, timeout=30, check=False
    )


def pems(content):
    if b"-----BEGIN" not in content:
        text = base64.encodebytes(content)
        return [b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"]
    return re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", content, re.S)


def openssl_accepts(folder, report, leaf, chain, at):
    """Verify leaf -> ASK -> ARK at a time, then the signature over the report's body."""
    authority, root = pems(chain)
    for name, content in (("leaf", pems(leaf)[0]), ("ask", authority), ("ark", root)):
        (folder / f"{name}.pem").write_bytes(content)
    moment = subprocess.run(
        ["date", "-u", "-d", at, "+%s"], capture_output=True, text=True, check=True
    ).stdout.strip()
    verified = run(
        "verify", "-attime", moment, "-CAfile", "ark.pem", "-untrusted", "ask.pem", "leaf.pem",
        folder=folder,
    )  # fmt: skip
    public = run("x509", "-in", "leaf.pem", "-noout", "-pubkey", folder=folder)
    (folder / "key.pem").write_bytes(public.stdout)
    r, s = (int.from_bytes(report[o : o + 72], "little") for o in (0x2A0, 0x2E8))
    (folder / "signature").write_bytes(encode_dss_signature(r, s))
    (folder / "body").write_bytes(report[:0x2A0])
    signed = run(
        "dgst", "-sha384", "-verify", "key.pem", "-signature", "signature", "body", folder=folder
    )
    return verified.returncode == 0 and signed.returncode == 0


def we_accept(report, leaf, chain, at):
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    try:
        authenticate_report(report, vek=leaf, chain=chain, crl=None, at=moment)
    except AttestationError as error:
        return False, error.code
    return True, None


def files(case):
    return tuple(
        (VECTORS / case["files"][role]).read_bytes() for role in ("report", "leaf", "chain")
    )


@pytest.mark.parametrize("name", CASES)
def test_openssl_agrees_about_every_recorded_case(name, tmp_path):
    case = CASES[name]
    parts = files(case)
    ours, _ = we_accept(*parts, case["at"])
    assert openssl_accepts(tmp_path, *parts, case["at"]) is ours
    assert ours is (case["verdict"] == "valid" or case["error"] in POLICY_ONLY)


@pytest.mark.parametrize("offset", [0x004, 0x008, 0x050, 0x090, 0x180, 0x1A0, 0x29F, 0x2A0, 0x2E8])
@pytest.mark.parametrize("name", ["snp-milan-v2", "snp-genoa-v3", "snp-milan-v3-vlek"])
def test_both_refuse_a_changed_report(name, offset, tmp_path):
    case = CASES[name]
    report, leaf, chain = files(case)
    changed = bytearray(report)
    changed[offset] ^= 1
    assert not openssl_accepts(tmp_path, bytes(changed), leaf, chain, case["at"])
    assert we_accept(bytes(changed), leaf, chain, case["at"]) == (False, "snp.report_signature")


def test_both_refuse_a_leaf_whose_signature_was_changed(tmp_path):
    case = CASES["snp-milan-v2"]
    report, leaf, chain = files(case)
    changed = leaf[:-1] + bytes([leaf[-1] ^ 1])
    assert not openssl_accepts(tmp_path, report, changed, chain, case["at"])
    assert we_accept(report, changed, chain, case["at"]) == (False, "snp.chain_signature")


MUTATIONS = [m for m in MANIFEST["mutations"] if m["base"] in CASES and "xor" in m["op"]]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one["id"])
def test_a_mutation_is_refused_by_both_or_is_in_bytes_that_nobody_signs(mutation, tmp_path):
    """What openssl cannot see, because no signature covers it, is refused here all the same."""
    case = CASES[mutation["base"]]
    report, leaf, chain = files(case)
    offset, mask = mutation["op"]["xor"]
    changed = bytearray(report)
    changed[offset] ^= mask
    ours, code = we_accept(bytes(changed), leaf, chain, case["at"])
    assert (ours, code) == (False, mutation["error"])
    unsigned = offset >= 0x2A0 + 2 * 72
    assert openssl_accepts(tmp_path, bytes(changed), leaf, chain, case["at"]) is unsigned


@pytest.mark.parametrize("product", ["milan", "genoa"])
@pytest.mark.parametrize("root", ["milan", "genoa", "turin"])
@pytest.mark.parametrize("flip", [None, 60, 200, -1])
def test_both_agree_about_revocation_lists(product, root, flip, tmp_path):
    content = bytearray((VECTORS / "snp" / "crl" / f"{product}.crl.der").read_bytes())
    if flip is not None:
        content[flip] ^= 1
    chain = (VECTORS / "snp" / "roots" / f"{root}.pem").read_bytes()
    (tmp_path / "list").write_bytes(content)
    (tmp_path / "ark.pem").write_bytes(pems(chain)[1])
    verified = run(
        "crl", "-inform", "der", "-in", "list", "-noout", "-CAfile", "ark.pem", folder=tmp_path
    )
    theirs = verified.returncode == 0 and b"verify OK" in verified.stderr
    try:
        RevocationList.read(bytes(content), Authority.read(chain).root, AT)
    except AttestationError:
        ours = False
    else:
        ours = True
    assert ours is theirs is (product == root and flip is None)
