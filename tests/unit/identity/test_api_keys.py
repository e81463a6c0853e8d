"""A key is shown once and recognised by a digest that is useless without the pepper."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.errors import ConfigError
from confide.identity.api_keys import KEY_LENGTH, digest, mint, well_formed
from confide.identity.principal import Limits, Principal
from confide.identity.records import ApiKeyRecord, DomainRecord, default_domain

PEPPER = bytes(range(32))
NOW = 1_900_000_000.9


def fixed(n):
    return bytes([7]) * n


def test_a_key_is_52_characters_with_a_readable_prefix():
    clear, _ = mint(PEPPER, now=NOW)
    assert clear.reveal().startswith("ck_")
    assert len(clear.reveal()) == KEY_LENGTH
    assert well_formed(clear.reveal().encode())


def test_two_keys_share_nothing():
    (one, first), (two, second) = mint(PEPPER, now=NOW), mint(PEPPER, now=NOW)
    assert one.reveal() != two.reveal()
    assert first.digest != second.digest
    assert first.id != second.id


def test_the_digest_is_a_known_value():
    # From another implementation: openssl dgst with this key over label and text.
    assert (
        digest(PEPPER, b"ck_x").hex()
        == "5f9fc620c18fb2621c9026ba9ee4a513c7d02d8e4fbef3fb4543ff4be6fbf8c0"
    )


def test_the_record_is_found_by_the_digest_of_the_key():
    clear, record = mint(PEPPER, now=NOW, random=fixed)
    assert record.digest == digest(PEPPER, clear.reveal().encode())
    assert record.digest != digest(bytes(32), clear.reveal().encode())


def test_neither_the_key_nor_its_digest_is_printed():
    clear, record = mint(PEPPER, now=NOW)
    shown = f"{clear} {clear!r} {record} {record!r} {[clear]}"
    assert clear.reveal() not in shown
    assert record.digest.hex() not in shown
    assert repr(record.digest) not in shown


def test_a_key_is_not_pickled():
    clear, _ = mint(PEPPER, now=NOW)
    with pytest.raises(TypeError):
        pickle.dumps(clear)


def test_the_id_says_nothing_about_the_key():
    clear, record = mint(PEPPER, now=NOW)
    assert record.id[4:] not in clear.reveal()
    assert record.tail == clear.reveal()[-4:]


@given(st.integers(3, KEY_LENGTH - 1), st.sampled_from("0aZ-_ é"))
def test_changing_one_character_is_noticed(position, character):
    clear, _ = mint(PEPPER, now=NOW, random=fixed)
    text = clear.reveal()
    changed = text[:position] + character + text[position + 1 :]
    assert well_formed(changed.encode()) == (changed == text)


@pytest.mark.parametrize("key", [b"", b"ck_", b"sk-" + b"a" * 49, b"ck_" + b"0" * 48, b"\xff" * 52])
def test_other_strings_are_not_keys(key):
    assert not well_formed(key)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_pepper_of_another_length_is_refused(length):
    with pytest.raises(ValueError):
        digest(bytes(length), b"ck_x")


@pytest.mark.parametrize("limit", ["requests_per_minute", "burst", "max_streams"])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(ConfigError):
        mint(PEPPER, now=NOW, **{limit: 0})


def test_a_key_that_expires_before_it_exists_is_refused():
    with pytest.raises(ConfigError):
        mint(PEPPER, now=NOW, expires_at=int(NOW))


def test_a_principal_has_its_own_limits_where_given_and_the_defaults_elsewhere():
    _, record = mint(PEPPER, now=NOW, max_streams=3, expires_at=2_000_000_000)
    principal = Principal.of(record, default_domain(0), Limits(60, 120, 16))
    assert principal.limits == Limits(60, 120, 3)
    assert principal.expires_at == 2_000_000_000
    assert not principal.revoked
    assert (principal.models, principal.usage) == (("*",), "bucketed")


def test_a_revoked_record_makes_a_revoked_principal():
    record = ApiKeyRecord("key_1", "default", bytes(32), "tail", "", 1, revoked_at=2)
    assert Principal.of(record, default_domain(0), Limits()).revoked


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "Upper"},
        {"id": ""},
        {"id": "a" * 64},
        {"id": "a", "models": ()},
        {"id": "a", "models": ("two words",)},
        {"id": "a", "operations": ()},
        {"id": "a", "operations": ("files",)},
        {"id": "a", "usage": "free"},
    ],
)
def test_a_domain_that_could_not_be_enforced_is_refused(wrong):
    with pytest.raises(ConfigError):
        DomainRecord(**wrong)
