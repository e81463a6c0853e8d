"""A client KEK is created once, private, and read in every form people write it."""

import base64
import os
import stat

import pytest

from confide.client.keystore import create_kek, encode_kek, fingerprint, load_kek, parse_kek
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import ConfigError

RAW = bytes(range(192, 224))  # its base64 has characters of both alphabets


@pytest.mark.parametrize(
    "text",
    [
        RAW.hex(),
        RAW.hex().upper(),
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode(),
        base64.b64encode(RAW).decode().rstrip("="),
        f"  {RAW.hex()}\n",
    ],
)
def test_hex_and_base64_are_read(text):
    assert parse_kek(text) == SecretBytes(RAW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        RAW.hex()[:-2],
        RAW.hex() + "00",
        base64.b64encode(RAW[:-1]).decode(),
        base64.b64encode(RAW + b"x").decode(),
        "a correct horse battery staple",
        "é" * 44,
    ],
)
def test_anything_else_is_refused_without_repeating_it(text):
    with pytest.raises(ConfigError) as caught:
        parse_kek(text)
    assert not text or text not in str(caught.value)


def test_a_new_file_is_private_and_holds_what_was_returned(tmp_path):
    path = tmp_path / "kek"
    kek = create_kek(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (len(kek), load_kek(path)) == (32, kek)
    assert os.listdir(tmp_path) == ["kek"]


def test_an_existing_file_is_kept(tmp_path):
    first = create_kek(tmp_path / "kek")
    assert create_kek(tmp_path / "kek") == first


def test_two_files_hold_two_keys(tmp_path):
    assert create_kek(tmp_path / "a") != create_kek(tmp_path / "b")


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "kek"
    create_kek(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        load_kek(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_a_broken_file_is_refused_and_not_replaced(tmp_path):
    path = tmp_path / "kek"
    path.write_text("oops")
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        create_kek(path)
    assert path.read_text() == "oops"


@pytest.mark.parametrize("path", ["missing/kek", "kek"])
def test_what_cannot_be_written_or_read_is_named(tmp_path, path):
    with pytest.raises(ConfigError):
        create_kek(tmp_path / "missing" / "kek")
    with pytest.raises(ConfigError):
        load_kek(tmp_path / path)
    assert os.listdir(tmp_path) == []


def test_the_fingerprint_names_the_key_and_the_repr_hides_it():
    kek = SecretBytes(RAW)
    assert fingerprint(kek) == fingerprint(parse_kek(encode_kek(kek)))
    assert fingerprint(kek) != fingerprint(SecretBytes(RAW[::-1]))
    assert len(fingerprint(kek)) == 16
    assert RAW.hex() not in repr(kek)


@pytest.mark.parametrize("text", ["no key!", "AAAA"])
def test_a_kek_that_is_not_usable_says_what_to_do(tmp_path, text):
    path = tmp_path / "kek"
    for unusable in (lambda: load_kek(path), lambda: create_kek(tmp_path / "none" / "kek")):
        with pytest.raises(ConfigError) as refusal:
            unusable()
        assert refusal.value.hint
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as refusal:
        load_kek(path)
    assert refusal.value.hint
