"""X-Wing contexts agree with the npm packages hpke and @panva/hpke-noble, both ways."""

import pytest

from confide.crypto.hpke import setup_recipient, setup_sender
from confide.crypto.xwing import PrivateKey
from confide.wire.suites import XWING_SUITE

pytestmark = pytest.mark.interop

INFO = b"message/bhttp chunked request\x00\x01"
EXPORT = b"message/bhttp chunked response"
MESSAGES = [(b"", b""), (b"first", b"aad"), (bytes(20_000), b""), (b"last", b"final")]


def test_what_the_peer_seals_we_open(npm_peer):
    private_key = PrivateKey.generate()
    messages = [{"plaintext": p.hex(), "aad": a.hex()} for p, a in MESSAGES]
    sent = npm_peer(
        "send",
        public_key=private_key.public_key.hex(),
        info=INFO.hex(),
        messages=messages,
        export_context=EXPORT.hex(),
    )
    context = setup_recipient(XWING_SUITE, private_key, bytes.fromhex(sent["enc"]), INFO)
    for sealed, (plaintext, aad) in zip(sent["sealed"], MESSAGES, strict=True):
        assert context.open(bytes.fromhex(sealed), aad) == plaintext
    assert context.export(EXPORT, 32).hex() == sent["exported"]


def test_what_we_seal_the_peer_opens(npm_peer):
    public_key = bytes.fromhex(npm_peer("generate")["public_key"])
    enc, context = setup_sender(XWING_SUITE, public_key, INFO)
    messages = [{"ciphertext": context.seal(p, a).hex(), "aad": a.hex()} for p, a in MESSAGES]
    received = npm_peer(
        "receive", enc=enc.hex(), info=INFO.hex(), messages=messages, export_context=EXPORT.hex()
    )
    assert received["opened"] == [p.hex() for p, _ in MESSAGES]
    assert received["exported"] == context.export(EXPORT, 32).hex()


def test_the_peer_refuses_what_was_changed_on_the_way(npm_peer):
    public_key = bytes.fromhex(npm_peer("generate")["public_key"])
    enc, context = setup_sender(XWING_SUITE, public_key, INFO)
    sealed = bytearray(context.seal(b"text"))
    sealed[0] ^= 1
    received = npm_peer(
        "receive",
        enc=enc.hex(),
        info=INFO.hex(),
        messages=[{"ciphertext": sealed.hex(), "aad": ""}],
        export_context="",
    )
    assert received["error"].startswith("OpenError")
