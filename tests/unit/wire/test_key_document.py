"""A key document means one thing, and its digest covers the bytes as served."""

import hashlib
import json

import pytest

from confide.errors import KeyConfigError
from confide.wire.directory import MAX_REPLICAS, Directory, Replica
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import MAX_DOCUMENT, KeyDocument
from confide.wire.suites import KEM_XWING

KEY = KeyConfig(7, KEM_XWING, bytes(1216), ((1, 2),))


def build(**changes):
    values = {
        "key_configs": [KEY],
        "not_before": 1_700_000_000,
        "not_after": 1_700_086_400,
        "manifest_sha256": "ab" * 32,
        "boot_id": "cd" * 16,
        "usage_key": bytes(range(32)),
    }
    return KeyDocument.build(**(values | changes))


def changed(**members):
    return json.dumps(json.loads(build().raw) | members).encode()


def test_a_built_document_is_what_it_parses_to():
    document = build()
    assert KeyDocument.parse(document.raw) == document
    assert document.sha256 == hashlib.sha256(document.raw).digest()
    assert document.sha256_hex == document.sha256.hex()
    assert document.key_configs == (KEY,)
    assert document.suites == ((0x647A, 1, 2),)
    assert (document.padding_profile, document.tick_ms) == ("bucket", 100)
    assert (document.past_s, document.future_s) == (120, 60)
    assert document.authorities == ("confide.invalid",)
    assert document.previous_sha256 is None


def test_the_digest_covers_the_bytes_and_not_the_meaning():
    document = build()
    spaced = json.dumps(json.loads(document.raw), indent=1).encode()
    assert KeyDocument.parse(spaced).sha256 != document.sha256


def test_the_chain_to_the_document_before_is_kept():
    assert build(previous_sha256="00" * 32).previous_sha256 == "00" * 32


REFUSED = {
    "another version": {"v": 2},
    "true as version": {"v": True},
    "another protocol": {"protocol": "confide/2"},
    "padded base64": {"ohttp_keys": "AA=="},
    "no keys": {"ohttp_keys": ""},
    "suites of another key": {"suites": [[0x647A, 1, 3]]},
    "a suite twice": {"suites": [[0x647A, 1, 2], [0x647A, 1, 2]]},
    "suites as text": {"suites": "x"},
    "a suite of two": {"suites": [[1, 2]]},
    "ends before it begins": {"not_after": 1_700_000_000},
    "time as text": {"not_before": "1"},
    "time as fraction": {"not_before": 1.5},
    "a chunk over the protocol's": {"max_chunk": 16385},
    "no body": {"max_body": 0},
    "unknown padding": {"padding": {"profile": "random", "tick_ms": 1}},
    "padding with more": {"padding": {"profile": "off", "tick_ms": 1, "x": 1}},
    "padding as text": {"padding": "off"},
    "no window": {"replay_window": {}},
    "digest in capitals": {"manifest_sha256": "AB" * 32},
    "short digest": {"manifest_sha256": "ab"},
    "short boot id": {"boot_id": "ab"},
    "digest before as number": {"previous_sha256": 1},
    "short usage key": {"usage_key": "AAAA"},
    "base64 with unused bits set": {"usage_key": "A" * 42 + "B"},
    "no authority": {"authorities": []},
    "authority with a line break": {"authorities": ["a\nb"]},
    "an unknown member": {"extra": 1},
}


@pytest.mark.parametrize("members", REFUSED.values(), ids=REFUSED)
def test_a_document_that_is_not_exactly_right_is_refused(members):
    with pytest.raises(KeyConfigError):
        KeyDocument.parse(changed(**members))


def test_a_document_without_a_member_is_refused():
    members = json.loads(build().raw)
    for name in members:
        rest = {key: value for key, value in members.items() if key != name}
        with pytest.raises(KeyConfigError):
            KeyDocument.parse(json.dumps(rest).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 5000,
        b"[" * 60_000,
        b'{"v":1,"v":1}',
        b'{"v":NaN}',
        b" " * (MAX_DOCUMENT + 1),
        b'{"v":' + b"1" * 5000 + b"}",
    ],
    ids=["empty", "list", "not utf-8", "cut", "deep", "repeated", "nan", "large", "long number"],
)
def test_bytes_that_are_no_strict_json_object_are_refused(raw):
    with pytest.raises(KeyConfigError):
        KeyDocument.parse(raw)


def test_a_repeated_member_is_refused_even_if_both_agree():
    raw = build().raw
    with pytest.raises(KeyConfigError):
        KeyDocument.parse(raw[:-1] + b',"v":1}')


def test_a_directory_keeps_every_byte():
    replicas = (Replica(build().raw, b"\x00evidence", b""), Replica(b"{ }", b"e", b"m"))
    directory = Directory(replicas)
    assert Directory.parse(directory.encode()) == directory


@pytest.mark.parametrize(
    "members",
    [
        {"v": 2, "replicas": []},
        {"v": 1},
        {"v": 1, "replicas": {}},
        {"v": 1, "replicas": [1]},
        {"v": 1, "replicas": [{"document": "", "evidence": ""}]},
        {"v": 1, "replicas": [{"document": "*", "evidence": "", "manifest": ""}]},
        {
            "v": 1,
            "replicas": [{"document": "", "evidence": "", "manifest": ""}] * (MAX_REPLICAS + 1),
        },
        {"v": 1, "replicas": [], "more": 1},
    ],
)
def test_a_malformed_directory_is_refused(members):
    with pytest.raises(KeyConfigError):
        Directory.parse(json.dumps(members).encode())
