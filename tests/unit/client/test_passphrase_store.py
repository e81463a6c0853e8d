"""A store under a passphrase: strong when made, refused when weakened, silent when wrong."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.client.keystore_bench import NOW, WORDS, passphrase

from confide.client.keystore import KeySet, encode_kek
from confide.client.keystore.passphrase import (
    CEILING,
    DEFAULT,
    FLOOR,
    Cost,
    existing_passphrase,
    new_passphrase,
    open_keys,
    read_labels,
    seal_keys,
)
from confide.errors import KeystoreError, PassphraseError

KEYS = KeySet.create(NOW).rotate(NOW + 1)
SEALED = seal_keys(KEYS, passphrase(), cost=FLOOR)


def changed(**members):
    return json.dumps({**json.loads(SEALED), **members}).encode()


def test_what_is_made_with_the_default_cost_opens():
    sealed = seal_keys(KEYS, passphrase())
    assert open_keys(sealed, passphrase()) == KEYS
    assert DEFAULT.memory_kib >= 4 * FLOOR.memory_kib


def test_the_floor_is_the_second_recommendation_of_rfc_9106():
    assert (FLOOR.memory_kib, FLOOR.iterations) == (64 * 1024, 3)


def test_the_file_names_its_keys_and_holds_none():
    assert read_labels(SEALED) == KEYS.labels
    for entry in KEYS.entries:
        assert entry.kek.reveal().hex().encode() not in SEALED
        assert encode_kek(entry.kek).encode() not in SEALED


def test_two_files_of_one_passphrase_share_no_salt_and_no_nonce():
    first, second = (json.loads(seal_keys(KEYS, passphrase(), cost=FLOOR)) for _ in range(2))
    for name in ("salt", "nonce", "ciphertext"):
        assert first[name] != second[name]


@pytest.mark.parametrize("text", [WORDS + " ", WORDS.upper(), "", WORDS[:-1]])
def test_another_passphrase_does_not_open_it(text):
    with pytest.raises(PassphraseError):
        open_keys(SEALED, existing_passphrase(text))


def test_one_passphrase_in_two_unicode_forms_is_the_same():
    composed, decomposed = "Frühstück um sieben Uhr", "Fru\u0308hstu\u0308ck um sieben Uhr"
    sealed = seal_keys(KEYS, new_passphrase(composed), cost=FLOOR)
    assert open_keys(sealed, existing_passphrase(decomposed)) == KEYS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1234",
        "short words 123",
        "12345678901234567890",
        "1234-5678-9012-3456-78",
        "١٢٣٤٥٦٧٨٩٠١٢٣٤٥٦٧٨",
        "aaaaaaaaaaaaaaaaaaaa",
        "abababababababababab",
        "x" * 2000 + "abcdefgh",
        "correct horse battery \ud800",
    ],
)
def test_a_weak_or_impossible_passphrase_is_refused_without_repeating_it(text):
    with pytest.raises(PassphraseError) as caught:
        new_passphrase(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["correct horse battery", "Sixteen chars ok", "日本語の合言葉を十六文字以上で書く"]
)
def test_a_long_enough_passphrase_is_accepted(text):
    assert new_passphrase(text) == existing_passphrase(text)


@pytest.mark.parametrize(
    "members",
    [
        {"memory_kib": FLOOR.memory_kib - 1},
        {"memory_kib": 8},
        {"iterations": FLOOR.iterations - 1},
        {"lanes": 0},
        {"memory_kib": CEILING.memory_kib + 1},
        {"iterations": CEILING.iterations + 1},
        {"lanes": CEILING.lanes + 1},
        {"iterations": True},
        {"memory_kib": 1e9},
        {"memory_kib": "65536"},
        {"kdf": "argon2i"},
        {"kdf": "scrypt"},
        {"cipher": "aes-256-cbc"},
        {"v": 2},
        {"salt": "AAAA"},
        {"nonce": "AAAA"},
        {"salt": None},
        {"ciphertext": "****"},
        {"extra": 1},
    ],
)
def test_a_weakened_or_foreign_header_is_refused_before_any_work(monkeypatch, members):
    monkeypatch.setattr("confide.client.keystore.passphrase.Argon2id", None)
    with pytest.raises(KeystoreError):
        open_keys(changed(**members), passphrase())
    with pytest.raises(KeystoreError):
        read_labels(changed(**members))


def test_a_weak_file_that_was_really_made_weak_is_refused():
    """An attacker who knows the format swaps in a cheap file to learn the next passphrase."""
    weak = seal_keys(KEYS, passphrase(), cost=Cost(8 * 1024, 1, 1))
    with pytest.raises(KeystoreError):
        open_keys(weak, passphrase())


@pytest.mark.parametrize(
    "members",
    [
        {"keys": [label.to_json() for label in KeySet.create(NOW).labels]},
        {"lanes": 2},
        {"nonce": "A" * 16},
        {"ciphertext": "A" * 64},
    ],
)
def test_no_part_of_the_file_can_be_changed(members):
    with pytest.raises(PassphraseError):
        open_keys(changed(**members), passphrase())


def test_a_machine_without_enough_memory_says_so(monkeypatch):
    class Greedy:
        def __init__(self, **costs):
            pass

        def derive(self, key):
            raise MemoryError

    monkeypatch.setattr("confide.client.keystore.passphrase.Argon2id", Greedy)
    with pytest.raises(KeystoreError):
        open_keys(SEALED, passphrase())


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: b"{" + text.encode()))
def test_any_bytes_are_refused_with_our_error(content):
    with pytest.raises(KeystoreError):
        open_keys(content, passphrase())
