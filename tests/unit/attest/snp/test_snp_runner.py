"""Recorded cases may come in other encodings than the ones stored here."""

import base64
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "tests" / "vectors" / "attestation"
DOCUMENT = json.loads((FOLDER / "manifest.json").read_text())
CASE = next(case for case in DOCUMENT["cases"] if case["id"] == "snp-milan-crl-current")


@pytest.fixture(scope="module")
def manifest():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("evidence_manifest")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def der(content):
    blocks = re.findall(rb"-----BEGIN [^-]+-----(.+?)-----END", content, re.DOTALL)
    return b"".join(base64.b64decode(block) for block in blocks) if blocks else content


FORMS = {
    "der": lambda content: der(content),
    "hex": lambda content: der(content).hex().encode() + b"\n",
    "base64": lambda content: base64.encodebytes(der(content)),
    "base64url": lambda content: base64.urlsafe_b64encode(der(content)).rstrip(b"="),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_case_in_another_encoding_gives_the_same_facts(manifest, form, tmp_path):
    for role, path in CASE["files"].items():
        (tmp_path / role).write_bytes(FORMS[form]((FOLDER / path).read_bytes()))
    case = CASE | {"files": {role: role for role in CASE["files"]}}
    assert manifest.check_case(DOCUMENT, tmp_path, case) is None


def test_a_chain_may_be_two_files(manifest, tmp_path):
    first, second = re.findall(
        rb"-----BEGIN .+?-----END CERTIFICATE-----",
        (FOLDER / CASE["files"]["chain"]).read_bytes(),
        re.DOTALL,
    )
    for role, content in (("ask", first), ("ark", der(second))):
        (tmp_path / role).write_bytes(content)
    for role in ("report", "leaf", "crl"):
        (tmp_path / role).write_bytes((FOLDER / CASE["files"][role]).read_bytes())
    files = {"report": "report", "vcek": "leaf", "ask": "ask", "ark": "ark", "crl": "crl"}
    assert manifest.check_case(DOCUMENT, tmp_path, CASE | {"files": files}) is None
