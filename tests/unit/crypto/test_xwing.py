"""X-Wing refuses keys and shares that would weaken it, all in one way."""

import copy
import pickle

import pytest

from confide.crypto import dhkem, xwing
from confide.errors import KeyConfigError, OpenError

# Points of small order on Curve25519 (RFC 7748 section 6.1: the result is all zero).
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.fixture(scope="module")
def private_key():
    return xwing.PrivateKey.generate()


def test_both_sides_get_the_same_secret(private_key):
    encapsulated_key, secret = xwing.encapsulate(private_key.public_key)
    assert len(encapsulated_key) == xwing.ENCAPSULATED_KEY_LENGTH
    assert len(secret) == 32
    assert private_key.decapsulate(encapsulated_key) == secret


def test_two_encapsulations_differ(private_key):
    first, one = xwing.encapsulate(private_key.public_key)
    second, other = xwing.encapsulate(private_key.public_key)
    assert first != second
    assert one != other


@pytest.mark.parametrize("place", [0, 1087, 1088, 1119])
def test_a_changed_encapsulated_key_gives_another_secret(private_key, place):
    encapsulated_key, secret = xwing.encapsulate(private_key.public_key)
    changed = bytearray(encapsulated_key)
    changed[place] ^= 1
    assert private_key.decapsulate(bytes(changed)) != secret


@pytest.mark.parametrize("share", LOW_ORDER)
def test_a_low_order_share_is_an_open_error_like_any_other(private_key, share):
    encapsulated_key, _ = xwing.encapsulate(private_key.public_key)
    with pytest.raises(OpenError) as caught:
        private_key.decapsulate(encapsulated_key[:1088] + share)
    assert str(caught.value) == str(OpenError())
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("share", LOW_ORDER)
def test_the_classical_kem_refuses_low_order_shares_too(share):
    with pytest.raises(OpenError):
        dhkem.PrivateKey.generate().decapsulate(share)
    with pytest.raises(KeyConfigError):
        dhkem.encapsulate(share)


@pytest.mark.parametrize("length", [0, 1119, 1121])
def test_an_encapsulated_key_of_another_length_is_an_open_error(private_key, length):
    with pytest.raises(OpenError):
        private_key.decapsulate(bytes(length))


@pytest.mark.parametrize("share", LOW_ORDER)
def test_a_public_key_with_a_low_order_half_is_refused(private_key, share):
    public_key = private_key.public_key[:1184] + share
    with pytest.raises(KeyConfigError):
        xwing.check_public_key(public_key)
    with pytest.raises(KeyConfigError):
        xwing.encapsulate(public_key)


@pytest.mark.parametrize("length", [0, 32, 1215, 1217])
def test_a_public_key_of_another_length_is_refused(length):
    with pytest.raises(KeyConfigError):
        xwing.check_public_key(bytes(length))


def test_a_lattice_half_with_coefficients_out_of_range_is_refused(private_key):
    with pytest.raises(KeyConfigError):
        xwing.check_public_key(b"\xff" * 1184 + private_key.public_key[1184:])


def test_a_generated_public_key_is_accepted(private_key):
    xwing.check_public_key(private_key.public_key)


@pytest.mark.parametrize("kem", [xwing, dhkem])
@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_private_key_is_not_pickled_or_copied(kem, copier):
    with pytest.raises(TypeError):
        copier(kem.PrivateKey.generate())


@pytest.mark.parametrize("kem", [xwing, dhkem])
def test_a_private_key_shows_nothing(kem):
    private_key = kem.PrivateKey.from_seed(bytes(range(32)))
    assert private_key.public_key.hex() not in repr(private_key)
    assert "0001" not in repr(private_key)


@pytest.mark.parametrize("kem", [xwing, dhkem])
def test_a_seed_of_another_length_is_refused(kem):
    with pytest.raises(ValueError):
        kem.PrivateKey.from_seed(bytes(31))
