"""A bundle carries endorsements and no belief; hostile ones are refused before they cost."""

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.attest.collateral import encode_bundle, read_bundle, read_bundle_file
from confide.attest.collateral.bundle import MAX_BUNDLE, MAX_BUNDLED
from confide.attest.endorsements import MAX_ENDORSEMENT, Endorsement, EndorsementKey
from confide.errors import AttestationError, ConfigError, EvidenceError

CRL = EndorsementKey("snp/crl", "Genoa")


def one(content=b"list", key=CRL):
    return Endorsement(key, content, "test")


def document(*rows, **members):
    return json.dumps({"v": 1, "endorsements": list(rows), **members}).encode()


def row(**changes):
    return {"kind": "snp/crl", "subject": "Genoa", "content": "bGlzdA"} | changes


keys = st.builds(
    EndorsementKey,
    st.from_regex(r"[a-z0-9-]{1,32}/[a-z0-9-]{1,32}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=50),
)


@given(st.lists(st.tuples(keys, st.binary(max_size=50)), max_size=10))
def test_what_is_written_is_read_back(pairs):
    written = [one(content, key) for key, content in pairs]
    found = read_bundle(encode_bundle(written), source="x")
    for key in {key for key, _ in pairs}:
        wanted = [content for other, content in pairs if other == key]
        assert [endorsement.content for endorsement in found.find(key)] == wanted
    assert len(found) == len(pairs)
    assert {endorsement.key for endorsement in found} == {key for key, _ in pairs}


def test_kind_and_subject_must_both_match():
    found = read_bundle(encode_bundle([one()]), source="x")
    assert found.find(EndorsementKey("snp/crl", "Milan")) == ()
    assert found.find(EndorsementKey("snp/crl")) == ()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "envelope.json"),
        (b"[]", "envelope.json"),
        (document(row())[:-1], "envelope.json"),
        (b'{"v":1,"v":1,"endorsements":[]}', "envelope.duplicate_key"),
        (json.dumps({"v": 2, "endorsements": []}).encode(), "envelope.version"),
        (document(facts=[]), "envelope.json"),
        (document("text"), "envelope.json"),
        (document(row(kind="snp")), "envelope.json"),
        (document(row(kind="../crl")), "envelope.json"),
        (document(row(subject="a\nb")), "envelope.json"),
        (document(row(subject="x" * 513)), "envelope.size"),
        (document(row(content="bGlzdA==")), "envelope.base64"),
        (document(row(more=1)), "envelope.json"),
        (document(*[row()] * 17), "envelope.size"),
        (document(*[row()] * (MAX_BUNDLED + 1)), "envelope.size"),
        (document(row(content="A" * (MAX_ENDORSEMENT * 2))), "envelope.size"),
        (b" " * (MAX_BUNDLE + 1), "envelope.size"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_document_is_refused_with_its_code(raw, code):
    started = time.process_time()
    with pytest.raises(EvidenceError) as caught:
        read_bundle(raw, source="x")
    assert caught.value.code == code
    assert time.process_time() - started < 1


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw):
    with contextlib.suppress(AttestationError):
        read_bundle(raw, source="x")


def test_a_document_cut_at_any_byte_is_refused():
    whole = encode_bundle([one(b"a"), one(b"b")])
    for length in range(len(whole)):
        with pytest.raises(EvidenceError):
            read_bundle(whole[:length], source="x")


def test_too_many_or_too_long_are_not_written():
    with pytest.raises(ConfigError):
        encode_bundle([one()] * (MAX_BUNDLED + 1))
    with pytest.raises(ConfigError):
        encode_bundle([one(bytes(MAX_ENDORSEMENT))] * 16)


def test_a_file_that_is_no_bundle_is_a_setting_to_fix(tmp_path):
    path = tmp_path / "bundle.json"
    with pytest.raises(ConfigError):
        read_bundle_file(path)
    path.write_text("{}")
    with pytest.raises(ConfigError):
        read_bundle_file(path)
    path.write_bytes(encode_bundle([one()]))
    (found,) = read_bundle_file(path).find(CRL)
    assert (found.content, found.source) == (b"list", "bundle bundle.json")
