"""A chunk stream is opened in order, to its end, or not at all."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from confide.crypto import chunks
from confide.crypto.chunks import ChunkOpener, ChunkSealer
from confide.errors import OpenError, SealingError, StreamClosed, StreamTruncated

KEY, NONCE = bytes(range(32)), bytes(range(12))


def test_the_nonce_is_the_base_xor_the_counter_and_the_last_chunk_says_final():
    sealer = ChunkSealer(KEY, NONCE)
    aead = AESGCM(KEY)
    assert sealer.seal(b"a") == aead.encrypt(NONCE, b"a", b"")
    second = NONCE[:-1] + bytes((NONCE[-1] ^ 1,))
    assert sealer.seal(b"b", final=True) == aead.encrypt(second, b"b", b"final")


def test_a_sealer_ends_with_its_final_chunk():
    sealer = ChunkSealer(KEY, NONCE)
    sealer.seal(b"", final=True)
    with pytest.raises(StreamClosed):
        sealer.seal(b"more")


def test_an_opener_ends_with_its_final_chunk():
    sealer, opener = ChunkSealer(KEY, NONCE), ChunkOpener(KEY, NONCE)
    opener.open(sealer.seal(b"", final=True), final=True)
    opener.finish()
    with pytest.raises(StreamClosed):
        opener.open(bytes(16))


def test_a_broken_opener_stays_broken():
    sealer, opener = ChunkSealer(KEY, NONCE), ChunkOpener(KEY, NONCE)
    genuine = sealer.seal(b"a")
    with pytest.raises(OpenError):
        opener.open(bytes(17))
    with pytest.raises(OpenError):
        opener.open(genuine)  # genuine, and next by the counter
    with pytest.raises(OpenError):
        opener.finish()


def test_a_stream_without_a_final_chunk_is_truncated_and_says_how_far_it_came():
    sealer, opener = ChunkSealer(KEY, NONCE), ChunkOpener(KEY, NONCE)
    opener.open(sealer.seal(b"a"))
    with pytest.raises(StreamTruncated) as caught:
        opener.finish()
    assert caught.value.received == opener.opened == 1
    with pytest.raises(OpenError):
        opener.open(sealer.seal(b"b"))


@pytest.mark.parametrize("lie", [True, False])
def test_a_lie_about_the_final_chunk_does_not_open(lie):
    sealer, opener = ChunkSealer(KEY, NONCE), ChunkOpener(KEY, NONCE)
    with pytest.raises(OpenError):
        opener.open(sealer.seal(b"a", final=not lie), final=lie)


@pytest.mark.parametrize("length", [0, 11, 13, 16])
def test_a_base_nonce_of_another_length_is_refused(length):
    for kind in (ChunkSealer, ChunkOpener):
        with pytest.raises(ValueError):
            kind(KEY, bytes(length))


def test_the_number_of_chunks_is_bounded(monkeypatch):
    monkeypatch.setattr(chunks, "_LIMIT", 1)
    sealer = ChunkSealer(KEY, NONCE)
    sealer.seal(b"")
    with pytest.raises(SealingError):
        sealer.seal(b"")
