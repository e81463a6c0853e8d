"""Keys are born here, change on time, and are in nobody else's hands."""

import copy
import pickle

import pytest

from confide.enclave.keyring import DocumentTerms, Keyring
from confide.errors import ConfigError
from confide.wire.usage import signed_bytes

TERMS = DocumentTerms(bytes(range(32)), padding_profile="off", tick_ms=0, max_body=1 << 20)


class Clock:
    def __init__(self, at=1_000_000.0):
        self.at = at

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keyring(clock):
    return Keyring(TERMS, clock, lifetime_s=1000, grace_s=100)


def ids(document):
    return [config.key_id for config in document.key_configs]


def test_the_document_says_what_the_terms_say(keyring):
    document = keyring.current
    assert document.manifest_sha256 == TERMS.manifest_sha256.hex()
    assert (document.not_before, document.not_after) == (1_000_000 - 60, 1_001_000)
    assert (document.padding_profile, document.tick_ms, document.max_body) == ("off", 0, 1 << 20)
    assert document.usage_key == keyring.usage_public_key
    assert document.boot_id == keyring.boot_id
    assert document.previous_sha256 is None
    assert keyring.find_key(ids(document)[0]).public_key == document.key_configs[0].public_key


def test_a_key_is_replaced_after_its_lifetime_and_named_second(keyring, clock):
    old = keyring.current
    clock.at += 999
    assert keyring.current is old
    clock.at += 1
    new = keyring.current
    assert ids(new) == [ids(new)[0], ids(old)[0]]
    assert ids(new)[0] != ids(old)[0]
    assert new.previous_sha256 == old.sha256_hex
    assert new.not_before == 1_001_000 - 60
    assert keyring.live_documents == (new, old)


def test_a_replaced_key_is_dropped_after_its_grace(keyring, clock):
    old = keyring.current
    clock.at += 1000
    assert keyring.find_key(ids(old)[0]) is not None
    assert keyring.find_document(old.sha256_hex) is old
    clock.at += 99
    assert keyring.find_key(ids(old)[0]) is not None
    clock.at += 1
    assert keyring.find_key(ids(old)[0]) is None
    assert keyring.find_document(old.sha256_hex) is None


def test_a_long_sleep_drops_every_old_key_at_once(keyring, clock):
    old = keyring.current
    clock.at += 1_000_000
    assert keyring.find_key(ids(old)[0]) is None or ids(old) == ids(keyring.current)
    assert len(keyring.live_documents) == 1
    assert keyring.current.previous_sha256 == old.sha256_hex


def test_a_clock_turned_back_makes_a_fresh_start(keyring, clock):
    old = keyring.current
    clock.at -= 60
    assert keyring.current is old
    clock.at -= 1
    assert keyring.current.sha256 != old.sha256
    assert keyring.find_document(old.sha256_hex) is None
    assert len(keyring.live_documents) == 1


def test_without_grace_the_old_key_goes_with_the_new_one_s_birth(clock):
    keyring = Keyring(TERMS, clock, lifetime_s=1000, grace_s=0)
    old = keyring.current
    clock.at += 1000
    assert len(keyring.live_documents) == 1
    assert keyring.find_document(old.sha256_hex) is None


def test_ids_of_live_keys_differ(clock, monkeypatch):
    monkeypatch.setattr("confide.enclave.keyring.secrets.choice", lambda ids: ids[0])
    keyring = Keyring(TERMS, clock, lifetime_s=10, grace_s=10)
    seen = [ids(keyring.current)[0]]
    for _ in range(3):
        clock.at += 10
        seen.append(ids(keyring.current)[0])
    assert seen == [0, 1, 0, 1]


def test_a_grace_longer_than_the_lifetime_is_refused(clock):
    with pytest.raises(ConfigError):
        Keyring(TERMS, clock, lifetime_s=10, grace_s=11)


def test_every_boot_has_its_own_keys(clock):
    one, two = (Keyring(TERMS, clock, lifetime_s=1000, grace_s=100) for _ in range(2))
    assert one.boot_id != two.boot_id
    assert one.usage_public_key != two.usage_public_key
    public = [ring.current.key_configs[0].public_key for ring in (one, two)]
    assert public[0] != public[1]


def test_a_keyring_is_neither_pickled_nor_copied_and_its_repr_counts(keyring):
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(keyring)
    assert repr(keyring) == "Keyring(1 live keys)"


def test_usage_is_signed_with_the_key_the_document_lists(keyring):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    message = signed_bytes(b"{}")
    key = Ed25519PublicKey.from_public_bytes(keyring.current.usage_key)
    key.verify(keyring.sign_usage(message), message)
