"""Usage statements have one spelling, form a chain and tell no more than they must."""

import json
from dataclasses import replace

import pytest

from confide.errors import SealingError
from confide.wire.usage import (
    FIRST_PREVIOUS,
    SIGNATURE_LABEL,
    SignedStatement,
    UsageStatement,
    bucket_tokens,
    encode_batch,
    parse_batch,
)

FIRST = UsageStatement(
    seq=1,
    request_id="r1",
    domain="d1",
    key_id="k1",
    model_class="small",
    operation="chat",
    prompt_tokens=16,
    completion_tokens=128,
    precision="bucketed",
    outcome="complete",
    started_at=1_700_000_000,
    duration_ms=250,
    boot_id="ab" * 16,
    previous=FIRST_PREVIOUS,
)
SIGNED = SignedStatement(FIRST.encode(), bytes(64))


def test_a_statement_round_trips_in_canonical_form():
    encoded = FIRST.encode()
    assert UsageStatement.parse(encoded) == FIRST
    assert list(json.loads(encoded)) == sorted(json.loads(encoded))
    assert b" " not in encoded


def test_the_next_statement_carries_the_digest_of_this_one():
    second = replace(FIRST, seq=2, previous=FIRST.sha256)
    assert UsageStatement.parse(second.encode()).previous == FIRST.sha256
    assert second.sha256 != FIRST.sha256


def test_another_spelling_of_the_same_statement_is_refused():
    with pytest.raises(SealingError) as caught:
        UsageStatement.parse(FIRST.encode().replace(b",", b", ", 1))
    assert caught.value.code == "usage-invalid"


REFUSED = [
    {"seq": -1},
    {"seq": True},
    {"prompt_tokens": 1.5},
    {"completion_tokens": "1"},
    {"precision": "rough"},
    {"outcome": "fine"},
    {"operation": "delete"},
    {"model_class": ""},
    {"boot_id": "ab"},
    {"previous": "0"},
    {"cached_tokens": 5},
    {"request_id": "x" * 256},
]


@pytest.mark.parametrize("change", REFUSED, ids=str)
def test_a_statement_that_is_not_exactly_right_is_refused(change):
    members = json.loads(FIRST.encode()) | change
    raw = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(SealingError):
        UsageStatement.parse(raw)


def test_the_text_form_round_trips_and_the_signature_covers_a_label():
    assert SignedStatement.parse(SIGNED.encode()) == SIGNED
    assert SIGNED.signed_bytes == SIGNATURE_LABEL + FIRST.encode()
    assert SIGNATURE_LABEL == b"confide/usage/v1\x00"


@pytest.mark.parametrize("text", ["", ".", "AA", "AA.AA", "*.*", "A" * 9000, SIGNED.encode() + "="])
def test_a_malformed_text_form_is_refused(text):
    with pytest.raises(SealingError):
        SignedStatement.parse(text)


def test_a_batch_round_trips():
    assert parse_batch(encode_batch([SIGNED, SIGNED])) == (SIGNED, SIGNED)
    assert parse_batch(encode_batch([])) == ()


@pytest.mark.parametrize(
    "members",
    [
        {"v": 2, "statements": []},
        {"v": 1},
        {"v": 1, "statements": [1]},
        {"v": 1, "statements": "x"},
    ],
)
def test_a_malformed_batch_is_refused(members):
    with pytest.raises(SealingError):
        parse_batch(json.dumps(members).encode())


@pytest.mark.parametrize(
    ("count", "bucket"), [(0, 0), (1, 16), (16, 16), (17, 32), (33, 64), (1024, 1024), (1025, 2048)]
)
def test_counts_are_rounded_up_to_powers_of_two(count, bucket):
    assert bucket_tokens(count) == bucket
