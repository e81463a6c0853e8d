"""Every recorded case and mutation gives the verdict, code and facts that its manifest states."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "vectors" / "attestation"
DOCUMENT = json.loads((FOLDER / "manifest.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def manifest():
    """The tool's module, imported from its folder."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("evidence_manifest")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.mark.parametrize("case", DOCUMENT["cases"], ids=lambda case: case["id"])
def test_a_recorded_case_gives_its_verdict_and_every_fact(manifest, case):
    remark = manifest.check_case(DOCUMENT, FOLDER, case)
    assert not (remark or "").startswith("facts not compared")


@pytest.mark.parametrize("mutation", DOCUMENT["mutations"], ids=lambda mutation: mutation["id"])
def test_a_mutation_is_refused_with_its_code(manifest, mutation):
    manifest.check_mutation(DOCUMENT, FOLDER, mutation)


def test_a_wrong_verdict_would_be_noticed(manifest):
    case = next(one for one in DOCUMENT["cases"] if one["id"] == "snp-milan-v2")
    for change in ({"verdict": "invalid", "error": "snp.revoked"}, {"facts": {"vmpl": 3}}):
        with pytest.raises(manifest.Mismatch):
            manifest.check_case(DOCUMENT, FOLDER, case | change)


def test_a_mutation_that_changes_nothing_is_no_test(manifest):
    mutation = next(one for one in DOCUMENT["mutations"] if one["id"] == "snp-version")
    with pytest.raises(manifest.Mismatch):
        manifest.check_mutation(DOCUMENT, FOLDER, mutation | {"op": {"xor": [0, 0]}})
    with pytest.raises(manifest.Mismatch):
        manifest.check_mutation(DOCUMENT, FOLDER, mutation | {"op": {"burn": 1}})


def test_every_stored_file_is_the_one_the_manifest_describes():
    import hashlib

    for entry in DOCUMENT["files"]:
        content = (FOLDER / entry["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["path"]
        assert entry["licence"] in {"Apache-2.0", "MIT"}
