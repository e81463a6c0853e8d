"""Published vectors and recorded exchanges are recomputed; changed ones are refused."""

import copy
import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "crypto"


@pytest.fixture(scope="module")
def check_vectors():
    """The tool, imported from its file."""
    tools = str(ROOT / "tools")
    sys.path.insert(0, tools)
    try:
        spec = importlib.util.spec_from_file_location("check_vectors", f"{tools}/check_vectors.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["check_vectors"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(tools)
    return module


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("xwing_draft.json", 3),
        ("hpke_pq_draft.json", 2),
        ("hpke_rfc9180_x25519_base_psk.json", 16),
        ("ohttp_rfc9458.json", 1),
        ("ohttp_chunked_draft08.json", 1),
        ("bhttp_rfc9292.json", 6),
        ("interop_transcripts.json", 12),
    ],
)
def test_every_vector_of_the_file_is_recomputed(check_vectors, capsys, name, passed):
    assert check_vectors.main([str(VECTORS / name)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{passed} passed, 0 failed"


@pytest.fixture
def transcripts():
    return json.loads((VECTORS / "interop_transcripts.json").read_text())["transcripts"]


def outcome(check_vectors, tmp_path, capsys, entry):
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({"transcripts": [entry]}))
    code = check_vectors.main([str(path)])
    return code, capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize(
    "member", ["enc_request", "request_plain", "enc_response", "response_plain", "key_config"]
)
def test_a_changed_byte_anywhere_fails_the_case(
    check_vectors, transcripts, tmp_path, capsys, number, member
):
    original = bytes.fromhex(transcripts[number][member])
    # key_config: the first bytes are id and KEM, which the request names. Where we were the
    # client its public key entered only the recorded secret, so that part cannot be checked.
    places = (0, 1) if member == "key_config" else (0, 3, len(original) // 2, len(original) - 1)
    for place in places:
        entry = copy.deepcopy(transcripts[number])
        changed = bytearray(original)
        changed[place] ^= 1
        entry[member] = changed.hex()
        assert outcome(check_vectors, tmp_path, capsys, entry) == (1, "0 passed, 1 failed")


@pytest.mark.parametrize("number", range(12))
def test_another_secret_fails_the_case(check_vectors, transcripts, tmp_path, capsys, number):
    entry = transcripts[number]
    member = "skR_seed" if "skR_seed" in entry else "kem_shared_secret"
    entry[member] = "01" * 32
    assert outcome(check_vectors, tmp_path, capsys, entry) == (1, "0 passed, 1 failed")


@pytest.mark.parametrize(
    "change",
    [
        {"chunked": None},
        {"kem_id": 16},
        {"aead_id": 3},
        {"enc_request": "zz"},
        {"enc_request": ""},
        {"enc_response": ""},
        {"skR_seed": "00"},
        {"key_config": []},
        {"request_plain": 7},
    ],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()),
)
def test_a_malformed_case_fails_and_does_not_crash(
    check_vectors, transcripts, tmp_path, capsys, change
):
    entry = transcripts[0] | change
    assert outcome(check_vectors, tmp_path, capsys, entry) == (1, "0 passed, 1 failed")


@pytest.mark.parametrize(
    "name",
    ["ohttp_rfc9458.json", "bhttp_rfc9292.json", "xwing_draft.json", "hpke_pq_draft.json"],
)
@pytest.mark.parametrize("entry", [None, 5, "text", [], {}], ids=repr)
def test_a_malformed_case_of_any_format_fails(check_vectors, tmp_path, capsys, name, entry):
    document = json.loads((VECTORS / name).read_text())
    (document["vectors"] if isinstance(document, dict) else document).append(entry)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(document))
    assert check_vectors.main([str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith(", 1 failed")


def test_a_case_that_is_no_object_fails(check_vectors, tmp_path, capsys):
    assert outcome(check_vectors, tmp_path, capsys, 5) == (1, "0 passed, 1 failed")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "3", '{"transcripts": []}', "[" * 100_000, '{"manifest": [1]}'],
    ids=["empty", "cut", "list", "object", "number", "no case", "deep", "other"],
)
def test_a_file_of_another_format_is_an_error_of_its_own(check_vectors, tmp_path, capsys, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert check_vectors.main([str(path)]) == 2
    assert "error:" in capsys.readouterr().err


def test_a_missing_file_is_an_error_of_its_own(check_vectors, tmp_path):
    assert check_vectors.main([str(tmp_path / "none.json")]) == 2
