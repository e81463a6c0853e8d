"""Key configurations are decoded exactly or refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.errors import KeyConfigError
from confide.wire.key_config import KeyConfig, encode_key_configs, parse_key_configs
from confide.wire.suites import KEM_X25519, KEM_XWING, XWING_SUITE, suite_for

VECTORS = Path(__file__).parents[2] / "vectors" / "crypto"
ONE = KeyConfig(7, KEM_XWING, bytes(1216), ((1, 2),))


def test_the_layout_is_that_of_rfc_9458():
    small = KeyConfig(1, KEM_X25519, bytes(32), ((1, 1), (1, 3)))
    assert small.encode().hex() == "010020" + "00" * 32 + "0008" + "00010001" + "00010003"


@pytest.mark.parametrize("name", ["ohttp_rfc9458.json", "ohttp_chunked_draft08.json"])
def test_published_key_configurations_round_trip(name):
    encoded = json.loads((VECTORS / name).read_text())["vectors"][0]["key_config"]
    assert KeyConfig.parse(bytes.fromhex(encoded)).encode().hex() == encoded


def test_a_list_round_trips_in_order():
    two = KeyConfig(8, KEM_XWING, b"\x01" * 1216, ((1, 2), (1, 3)))
    assert parse_key_configs(encode_key_configs([two, ONE])) == (two, ONE)


def test_a_key_configuration_is_refused_at_every_truncation_and_with_bytes_left_over():
    encoded = KeyConfig(1, KEM_X25519, bytes(32), ((1, 1),)).encode()
    for end in range(len(encoded)):
        with pytest.raises(KeyConfigError):
            KeyConfig.parse(encoded[:end])
    with pytest.raises(KeyConfigError):
        KeyConfig.parse(encoded + b"\x00")


def test_a_list_is_refused_at_every_truncation():
    encoded = encode_key_configs([KeyConfig(1, KEM_X25519, bytes(32), ((1, 1),))])
    for end in range(len(encoded)):
        with pytest.raises(KeyConfigError):
            parse_key_configs(encoded[:end])


@pytest.mark.parametrize(
    "fields",
    [
        (256, KEM_XWING, bytes(1216), ((1, 2),)),
        (-1, KEM_XWING, bytes(1216), ((1, 2),)),
        (1, 0x1234, bytes(32), ((1, 2),)),
        (1, KEM_XWING, bytes(1215), ((1, 2),)),
        (1, KEM_XWING, bytes(1216), ()),
    ],
)
def test_a_key_configuration_with_impossible_fields_is_refused(fields):
    with pytest.raises(KeyConfigError):
        KeyConfig(*fields)


def test_a_list_that_repeats_a_key_id_is_refused():
    with pytest.raises(KeyConfigError):
        parse_key_configs(encode_key_configs([ONE, ONE]))


def test_a_list_of_more_than_16_is_refused():
    many = [KeyConfig(n, KEM_X25519, bytes(32), ((1, 1),)) for n in range(17)]
    with pytest.raises(KeyConfigError):
        parse_key_configs(encode_key_configs(many))


def test_only_our_suite_is_chosen_to_seal():
    assert ONE.choose_suite() == XWING_SUITE
    for other in (
        KeyConfig(1, KEM_XWING, bytes(1216), ((1, 3),)),
        KeyConfig(1, KEM_X25519, bytes(32), ((1, 2),)),
    ):
        with pytest.raises(KeyConfigError):
            other.choose_suite()


def test_a_suite_the_key_does_not_list_is_refused():
    assert ONE.suite(1, 2) == XWING_SUITE
    with pytest.raises(KeyConfigError):
        ONE.suite(1, 1)


@pytest.mark.parametrize("ids", [(0x647A, 9, 2), (0x647A, 1, 9), (9, 1, 2)])
def test_an_unknown_suite_is_refused(ids):
    with pytest.raises(KeyConfigError):
        suite_for(*ids)


def test_the_response_nonce_is_as_long_as_the_longer_of_key_and_nonce():
    assert XWING_SUITE.response_nonce_length == 32
    assert suite_for(KEM_X25519, 1, 1).response_nonce_length == 16


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(encoded):
    for parse in (KeyConfig.parse, parse_key_configs):
        try:
            parse(encoded)
        except KeyConfigError:
            continue
