"""Enough of the right signers, both algorithms each, and an orderly hand-over."""

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from tests.unit.attest.enclave_double import NOW
from tests.unit.attest.releases.publisher import (
    ALICE,
    BOB,
    CAROL,
    END,
    KEYS,
    MALLORY,
    keys_file,
    next_keys,
)

from confide.attest.releases.dsse import Envelope, Signature
from confide.attest.releases.keys import PublicKey, ReleaseKeys, SigningKey
from confide.errors import AttestationError, ConfigError, EndorsementError, EvidenceError


def code(call, *arguments, **options):
    with pytest.raises((AttestationError, ConfigError)) as caught:
        call(*arguments, **options)
    return caught.value.code


def rotated(raw, *, at=NOW):
    return KEYS.rotated(raw, at=at)


def test_the_signers_are_read_as_written():
    assert ReleaseKeys.parse(keys_file()) == KEYS


def test_too_few_signers_are_refused():
    assert code(ReleaseKeys.parse, keys_file(KEYS, ALICE)) == "reference.threshold"


def test_signers_that_are_not_listed_do_not_count():
    assert code(ReleaseKeys.parse, keys_file(KEYS, ALICE, MALLORY)) == "reference.threshold"
    assert code(ReleaseKeys.parse, keys_file(KEYS, MALLORY)) == "reference.signature"


@pytest.mark.parametrize("half", [slice(0, 64), slice(64, None)], ids=["ed25519", "ml-dsa-65"])
def test_each_half_of_a_signature_is_needed(half):
    envelope = Envelope.parse(keys_file(KEYS, ALICE, BOB))
    bad = bytearray(envelope.signatures[1].value)
    bad[half] = bytes(len(bad[half]))
    assert bytes(bad) != envelope.signatures[1].value
    forged = envelope.with_signature(Signature(BOB.public.id, bytes(bad)))
    assert code(ReleaseKeys.parse, forged.encode()) == "reference.threshold"


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 65, 3372])
def test_a_shortened_signature_is_refused(keep):
    envelope = Envelope.parse(keys_file(KEYS, ALICE, BOB))
    short = Signature(BOB.public.id, envelope.signatures[1].value[:keep])
    raw = envelope.with_signature(short).encode()
    assert code(ReleaseKeys.parse, raw) == "reference.threshold"


def test_a_signature_under_the_name_of_another_key_is_refused():
    envelope = Envelope.parse(keys_file(KEYS, ALICE))
    copied = Signature(BOB.public.id, envelope.signatures[0].value)
    raw = envelope.with_signature(copied).encode()
    assert code(ReleaseKeys.parse, raw) == "reference.threshold"


def test_a_release_is_no_list_of_signers():
    envelope = replace(KEYS.unsigned(), payload_type="application/vnd.confide.release+json")
    raw = BOB.sign(ALICE.sign(envelope)).encode()
    assert code(ReleaseKeys.parse, raw) == "envelope.type"


def test_a_relabelled_document_is_not_signed():
    members = json.loads(keys_file(KEYS, ALICE, BOB))
    raw = json.dumps(members | {"payloadType": "text/plain"}).encode()
    assert code(rotated, raw) == "reference.signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0},
        {"threshold": 4},
        {"keys": ()},
        {"keys": (ALICE.public, ALICE.public)},
        {"version": 0},
        {"name": ""},
    ],
)
def test_signers_that_cannot_be_counted_cannot_be_listed(changes):
    with pytest.raises(ConfigError):
        replace(KEYS, **changes)


@pytest.mark.parametrize("shared", ["ed25519", "mldsa65"])
def test_one_signer_under_two_ids_is_refused(shared):
    other = PublicKey(
        **{"ed25519": BOB.public.ed25519, "mldsa65": BOB.public.mldsa65}
        | {shared: getattr(ALICE.public, shared)}
    )
    with pytest.raises(ConfigError) as caught:
        replace(KEYS, keys=(ALICE.public, other))
    assert caught.value.code == "reference.keys"


# Handing over.


def test_the_present_signers_and_the_next_sign_the_hand_over():
    successor = next_keys()
    assert rotated(keys_file(successor, BOB, CAROL)) == successor
    assert rotated(keys_file(successor, ALICE, BOB, MALLORY)) == successor


def test_the_next_signers_alone_cannot_take_over():
    assert code(rotated, keys_file(next_keys(), BOB, MALLORY)) == "reference.threshold"
    taken = next_keys(keys=(MALLORY.public,), threshold=1)
    assert code(rotated, keys_file(taken, MALLORY)) == "reference.signature"


def test_the_present_signers_alone_cannot_name_keys_that_nobody_holds():
    successor = next_keys(keys=(MALLORY.public, CAROL.public))
    assert code(rotated, keys_file(successor, ALICE, BOB)) == "reference.signature"
    assert code(rotated, keys_file(successor, ALICE, CAROL)) == "reference.threshold"


@pytest.mark.parametrize("changes", [{"version": 1}, {"version": 3}, {"name": "other"}])
def test_only_the_next_version_of_the_same_publisher_follows(changes):
    assert code(rotated, keys_file(next_keys(**changes), BOB, CAROL)) == "reference.rotation"


def test_a_late_hand_over_is_possible_and_an_expired_one_is_not():
    late = END + timedelta(days=1)
    longer = next_keys(not_after=late + timedelta(days=1))
    assert rotated(keys_file(longer, BOB, CAROL), at=late) == longer
    assert code(rotated, keys_file(next_keys(), BOB, CAROL), at=late) == "reference.keys_expired"


def test_expired_signers_are_refused():
    KEYS.require_current(END - timedelta(seconds=1))
    assert code(KEYS.require_current, END) == "reference.keys_expired"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        KEYS.unsigned().payload.replace(b'"v":1', b'"v":2'),
        KEYS.unsigned().payload.replace(b'"v":1', b'"v":1,"x":1'),
        KEYS.unsigned().payload.replace(b'"threshold":2', b'"threshold":true'),
        KEYS.unsigned().payload.replace(b'"ed25519":"', b'"ed25519":"AA'),
        KEYS.unsigned().payload.replace(b'"keys":[', b'"keys":[5,'),
    ],
)
def test_a_document_that_is_not_understood_is_refused(payload):
    envelope = replace(KEYS.unsigned(), payload=payload)
    with pytest.raises((EvidenceError, EndorsementError)):
        ReleaseKeys.parse(BOB.sign(ALICE.sign(envelope)).encode())


# Files.


def test_a_key_is_read_as_written():
    key = SigningKey.generate()
    assert SigningKey.from_pem(key.to_pem(None), None).public == key.public
    assert SigningKey.from_pem(key.to_pem(b"a passphrase"), b"a passphrase").public == key.public
    assert PublicKey.from_pem(key.public.to_pem()) == key.public


@pytest.mark.parametrize("passphrase", [None, b"", b"another"])
def test_an_encrypted_key_needs_its_passphrase(passphrase):
    raw = ALICE.to_pem(b"a passphrase")
    assert b"ENCRYPTED" in raw
    with pytest.raises(ConfigError):
        SigningKey.from_pem(raw, passphrase)


def test_a_plain_key_with_a_passphrase_is_refused():
    with pytest.raises(ConfigError):
        SigningKey.from_pem(ALICE.to_pem(None), b"x")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x" * 100_000,
        ALICE.public.to_pem(),
        ALICE.to_pem(None).split(b"\n-----BEGIN ")[0] + b"\n",
        ALICE.to_pem(None) * 2,
        b"\n".join(
            b"-----BEGIN " + part for part in ALICE.to_pem(None).split(b"-----BEGIN ")[:0:-1]
        ),
    ],
)
def test_what_is_no_private_key_is_refused(raw):
    with pytest.raises(ConfigError):
        SigningKey.from_pem(raw, None)
    with pytest.raises(ConfigError):
        PublicKey.from_pem(raw if raw != ALICE.public.to_pem() else b"")


def test_a_key_does_not_print_itself():
    assert repr(ALICE) == f"SigningKey({ALICE.public.id})"


def test_the_id_names_both_keys():
    other = SigningKey(
        Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32), MLDSA65PrivateKey.generate()
    )
    assert other.public.ed25519 == ALICE.public.ed25519
    assert other.public.id != ALICE.public.id


def test_a_key_of_a_kind_that_nobody_knows_is_refused():
    # Found by the fuzzer: one changed byte of the algorithm's identifier raised another class.
    ed25519 = bytes.fromhex("06032b6570")
    unknown = bytes.fromhex("06032b7070")
    for pem in (ALICE.public.to_pem(), ALICE.to_pem(None)):
        first, second = pem.split(b"-----END", 1)
        head, body = first.split(b"KEY-----\n")
        der = base64.b64decode(body)
        assert ed25519 in der
        other = base64.b64encode(der.replace(ed25519, unknown))
        raw = head + b"KEY-----\n" + other + b"\n-----END" + second
        with pytest.raises(ConfigError):
            PublicKey.from_pem(raw)
        with pytest.raises(ConfigError):
            SigningKey.from_pem(raw, None)
