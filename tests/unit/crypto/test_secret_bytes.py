"""A secret does not leak through the ways Python shows and copies values."""

import copy
import pickle

import pytest

from confide.crypto.secret_bytes import SecretBytes


def test_the_representation_shows_the_length_only():
    assert repr(SecretBytes(b"hunter2")) == "<SecretBytes of 7 bytes>"
    assert "hunter2" not in f"{SecretBytes(b'hunter2')}"


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_not_pickled_or_copied(copier):
    with pytest.raises(TypeError):
        copier(SecretBytes(b"x"))


def test_secrets_compare_by_value_and_only_with_secrets():
    assert SecretBytes(b"a") == SecretBytes(b"a")
    assert SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"


def test_a_secret_is_not_a_dictionary_key():
    with pytest.raises(TypeError):
        hash(SecretBytes(b"a"))


def test_wiping_removes_the_value():
    secret = SecretBytes(b"abc")
    secret.wipe()
    assert secret.reveal() == b""
    assert len(secret) == 0


def test_the_secret_is_a_copy_of_what_was_given():
    source = bytearray(b"abc")
    secret = SecretBytes(source)
    source[0] = 0
    assert secret.reveal() == b"abc"
