"""HPKE contexts number their messages and give nothing away when one fails."""

import pytest

from confide.crypto import hpke
from confide.crypto.aead import make_aead
from confide.crypto.hpke import RecipientContext, SenderContext, setup_recipient, setup_sender
from confide.crypto.kdf import labeled_derive, labeled_extract
from confide.crypto.secret_bytes import SecretBytes
from confide.crypto.xwing import PrivateKey
from confide.errors import KeyConfigError, OpenError, SealingError, StreamClosed
from confide.wire.suites import (
    AEAD_AES256GCM,
    AEAD_EXPORT_ONLY,
    KDF_HKDF_SHA256,
    KDF_SHAKE256,
    KEM_X25519,
    KEM_XWING,
    XWING_SUITE,
    suite_for,
)

SECRET = SecretBytes(bytes(32))


@pytest.fixture
def contexts():
    return (
        SenderContext.of(XWING_SUITE, SECRET, b"info"),
        RecipientContext.of(XWING_SUITE, SECRET, b"info"),
    )


def test_messages_open_in_order(contexts):
    sender, recipient = contexts
    for text in (b"a", b"", b"b" * 1000):
        assert recipient.open(sender.seal(text, b"aad"), b"aad") == text


def test_a_failure_does_not_advance_the_position(contexts):
    sender, recipient = contexts
    sealed = sender.seal(b"text")
    with pytest.raises(OpenError):
        recipient.open(bytes(len(sealed)))
    assert recipient.open(sealed) == b"text"


@pytest.mark.parametrize("sealed", [b"", b"short", bytes(16), bytes(200)])
def test_whatever_does_not_authenticate_is_one_error(contexts, sealed):
    with pytest.raises(OpenError) as caught:
        contexts[1].open(sealed)
    assert str(caught.value) == str(OpenError())


def test_info_is_authenticated(contexts):
    with pytest.raises(OpenError):
        RecipientContext.of(XWING_SUITE, SECRET, b"other").open(contexts[0].seal(b"text"))


def test_associated_data_is_authenticated(contexts):
    sender, recipient = contexts
    with pytest.raises(OpenError):
        recipient.open(sender.seal(b"text", b"one"), b"two")


def test_exports_agree_and_depend_on_their_context(contexts):
    sender, recipient = contexts
    assert sender.export(b"a", 32) == recipient.export(b"a", 32)
    assert sender.export(b"a", 32) != sender.export(b"b", 32)


def test_a_context_that_became_a_chunk_stream_only_exports(contexts):
    sender, recipient = contexts
    sealer, opener = sender.into_chunks(), recipient.into_chunks()
    assert opener.open(sealer.seal(b"x")) == b"x"
    for used in (lambda: sender.seal(b""), lambda: recipient.open(bytes(16)), sender.into_chunks):
        with pytest.raises(StreamClosed):
            used()
    assert sender.export(b"a", 16) == recipient.export(b"a", 16)


def test_a_used_context_does_not_become_a_chunk_stream(contexts):
    contexts[0].seal(b"x")
    with pytest.raises(StreamClosed):
        contexts[0].into_chunks()


def test_the_number_of_messages_is_bounded(contexts):
    contexts[0]._sequence = 1 << 64
    with pytest.raises(SealingError):
        contexts[0].seal(b"")


def test_a_pre_shared_key_needs_its_name():
    for one in ({"psk": b"k"}, {"psk_id": b"n"}):
        with pytest.raises(ValueError):
            hpke.schedule(XWING_SUITE, SECRET, b"", **one)


def test_a_key_of_another_kem_is_refused():
    suite = suite_for(KEM_X25519, KDF_HKDF_SHA256, AEAD_AES256GCM)
    with pytest.raises(KeyConfigError):
        setup_recipient(suite, PrivateKey.generate(), bytes(32), b"")


def test_an_export_only_suite_does_not_seal():
    suite = suite_for(KEM_XWING, KDF_HKDF_SHA256, AEAD_EXPORT_ONLY)
    with pytest.raises(KeyConfigError):
        SenderContext.of(suite, SECRET, b"").seal(b"")


@pytest.mark.parametrize(("aead_id", "length"), [(1, 32), (2, 16), (3, 16)])
def test_a_key_of_another_length_is_refused(aead_id, length):
    with pytest.raises(ValueError):
        make_aead(aead_id, bytes(length))


def test_a_kdf_is_used_only_in_its_own_shape():
    with pytest.raises(KeyConfigError):
        labeled_extract(KDF_SHAKE256, b"", b"", b"", b"")
    with pytest.raises(KeyConfigError):
        labeled_derive(KDF_HKDF_SHA256, b"", b"", b"", b"", 32)


def test_contexts_and_keys_show_no_secret():
    private_key = PrivateKey.generate()
    _, sender = setup_sender(XWING_SUITE, private_key.public_key, b"")
    keys = hpke.schedule(XWING_SUITE, SECRET, b"")
    for shown in (repr(sender), repr(keys)):
        assert "\\x" not in shown
        assert keys.key.hex() not in shown
