"""A release manifest counts only while it is signed, in its dates and fully understood."""

import base64
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.attest.enclave_double import CPU, MANIFEST_SHA256, MEASUREMENT, NOW

from confide.attest.reference_values import MAX_MANIFEST, ReferenceValue, load_signed, sign
from confide.errors import AttestationError, ConfigError, EndorsementError, EvidenceError

KEY = Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
VALUE = ReferenceValue("gateway", CPU, MEASUREMENT, MANIFEST_SHA256)
DATES = {"not_before": NOW, "not_after": NOW + timedelta(days=30)}
SIGNED = sign(KEY, name="release-1", values=[VALUE], **DATES)


def load(raw, *, key=PUBLIC, at=NOW):
    return load_signed(raw, public_key=key, at=at)


def resigned(**changes):
    payload = json.loads(base64.urlsafe_b64decode(json.loads(SIGNED)["payload"] + "=="))
    raw = json.dumps({k: v for k, v in (payload | changes).items() if v is not ...}).encode()
    signature = KEY.sign(b"confide/reference-values/v1\0" + raw)
    encode = lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()  # noqa: E731
    return json.dumps({"v": 1, "payload": encode(raw), "signature": encode(signature)}).encode()


def refused(raw, **options):
    with pytest.raises(AttestationError) as caught:
        load(raw, **options)
    return caught.value.code


def test_a_signed_manifest_is_read():
    found = load(SIGNED)
    assert found.values == (VALUE,)
    assert found.name == "release-1"
    assert found.not_after == DATES["not_after"]
    assert load(resigned()) == found


def test_another_key_is_refused():
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert refused(SIGNED, key=other) == "reference.signature"


def test_an_unsigned_manifest_is_refused():
    members = json.loads(SIGNED)
    del members["signature"]
    with pytest.raises(EvidenceError):
        load(json.dumps(members).encode())
    assert refused(json.dumps(members | {"signature": "A" * 86}).encode()) == "reference.signature"


def test_a_signature_without_the_label_is_refused():
    payload = base64.urlsafe_b64decode(json.loads(SIGNED)["payload"] + "==")
    signature = base64.urlsafe_b64encode(KEY.sign(payload)).rstrip(b"=").decode()
    unlabelled = json.loads(SIGNED) | {"signature": signature}
    assert refused(json.dumps(unlabelled).encode()) == "reference.signature"


def test_the_signature_is_checked_before_the_dates():
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert refused(SIGNED, key=other, at=NOW + timedelta(days=99)) == "reference.signature"


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (NOW + timedelta(days=30), "reference.expired"),
        (NOW - timedelta(seconds=1), "reference.not_yet_valid"),
    ],
)
def test_a_manifest_outside_its_dates_is_refused(at, code):
    with pytest.raises(EndorsementError) as caught:
        load(SIGNED, at=at)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1},
        {"name": ...},
        {"not_after": ...},
        {"not_after": None},
        {"v": 2},
        {"values": {}},
        {"values": [5]},
        {"values": [{}]},
        {"values": [{"name": "x", "platform": CPU, "measurement": "*", "manifest_sha256": "00"}]},
    ],
)
def test_a_signed_manifest_that_is_not_understood_is_refused(changes):
    with pytest.raises(EvidenceError):
        load(resigned(**changes))


def test_a_signed_manifest_of_nothing_is_refused():
    with pytest.raises(ConfigError):
        load(resigned(values=[]))


def test_a_manifest_without_end_in_this_calendar_is_cut_to_it():
    assert load(resigned(not_after=2**52)).not_after.year == 9999


def test_an_unknown_member_beside_the_payload_is_refused():
    with pytest.raises(EvidenceError):
        load(json.dumps(json.loads(SIGNED) | {"trusted": True}).encode())


def test_a_huge_manifest_is_refused():
    assert refused(b"x" * (MAX_MANIFEST + 1)) == "envelope.size"
