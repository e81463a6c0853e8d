"""Our contexts agree with the one-shot HPKE of the cryptography package, both ways."""

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from confide.crypto import dhkem, xwing
from confide.crypto.hpke import setup_recipient, setup_sender
from confide.wire.suites import (
    AEAD_AES128GCM,
    AEAD_AES256GCM,
    AEAD_CHACHA20POLY1305,
    KDF_HKDF_SHA256,
    KDF_HKDF_SHA384,
    KDF_HKDF_SHA512,
    KDF_SHAKE256,
    KEM_X25519,
    KEM_XWING,
    suite_for,
)

pytestmark = pytest.mark.interop

AEADS = {
    AEAD_AES128GCM: hpke.AEAD.AES_128_GCM,
    AEAD_AES256GCM: hpke.AEAD.AES_256_GCM,
    AEAD_CHACHA20POLY1305: hpke.AEAD.CHACHA20_POLY1305,
}
KDFS = {
    KDF_HKDF_SHA256: hpke.KDF.HKDF_SHA256,
    KDF_HKDF_SHA384: hpke.KDF.HKDF_SHA384,
    KDF_HKDF_SHA512: hpke.KDF.HKDF_SHA512,
    KDF_SHAKE256: hpke.KDF.SHAKE256,
}
INFO, TEXT = b"info", b"plaintext" * 100

suites = pytest.mark.parametrize("aead_id", AEADS)
kdfs = pytest.mark.parametrize("kdf_id", KDFS)


@suites
@kdfs
def test_xwing_messages_of_the_library_open_here(kdf_id, aead_id):
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    private_key = xwing.PrivateKey(mlkem, x25519)
    theirs = hpke.Suite(hpke.KEM.MLKEM768_X25519, KDFS[kdf_id], AEADS[aead_id])
    public_key = hpke.MLKEM768X25519PublicKey(mlkem.public_key(), x25519.public_key())
    message = theirs.encrypt(TEXT, public_key, INFO)
    suite = suite_for(KEM_XWING, kdf_id, aead_id)
    context = setup_recipient(suite, private_key, message[: suite.n_enc], INFO)
    assert context.open(message[suite.n_enc :]) == TEXT


@suites
@kdfs
def test_our_xwing_messages_open_in_the_library(kdf_id, aead_id):
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    suite = suite_for(KEM_XWING, kdf_id, aead_id)
    public_key = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    enc, context = setup_sender(suite, public_key, INFO)
    theirs = hpke.Suite(hpke.KEM.MLKEM768_X25519, KDFS[kdf_id], AEADS[aead_id])
    private_key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
    assert theirs.decrypt(enc + context.seal(TEXT), private_key, INFO) == TEXT


@suites
@kdfs
def test_x25519_messages_agree_both_ways(kdf_id, aead_id):
    private = X25519PrivateKey.generate()
    suite = suite_for(KEM_X25519, kdf_id, aead_id)
    theirs = hpke.Suite(hpke.KEM.X25519, KDFS[kdf_id], AEADS[aead_id])
    enc, context = setup_sender(suite, private.public_key().public_bytes_raw(), INFO)
    assert theirs.decrypt(enc + context.seal(TEXT), private, INFO) == TEXT
    message = theirs.encrypt(TEXT, private.public_key(), INFO)
    ours = setup_recipient(suite, dhkem.PrivateKey(private), message[:32], INFO)
    assert ours.open(message[32:]) == TEXT


def test_the_library_parses_our_public_key():
    public_key = xwing.PrivateKey.generate().public_key
    hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_key[:1184]),
        X25519PublicKey.from_public_bytes(public_key[1184:]),
    )
