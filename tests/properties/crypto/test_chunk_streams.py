"""Whatever happens to a stream of sealed chunks on the way, the opener notices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.crypto.chunks import ChunkOpener, ChunkSealer
from confide.errors import SealingError
from confide.wire.suites import AEAD_AES256GCM, AEAD_CHACHA20POLY1305

KEY, NONCE = bytes(range(32)), bytes(12)
streams = st.lists(st.binary(max_size=64), min_size=1, max_size=8)
aeads = st.sampled_from([AEAD_AES256GCM, AEAD_CHACHA20POLY1305])


def seal_all(plaintexts, aead_id=AEAD_AES256GCM):
    sealer = ChunkSealer(KEY, NONCE, aead_id)
    last = len(plaintexts) - 1
    return [(sealer.seal(p, final=i == last), i == last) for i, p in enumerate(plaintexts)]


def open_all(sealed, aead_id=AEAD_AES256GCM):
    opener = ChunkOpener(KEY, NONCE, aead_id)
    plaintexts = [opener.open(c, final=f) for c, f in sealed]
    opener.finish()
    return plaintexts


@given(streams, aeads)
def test_what_was_sealed_is_opened(plaintexts, aead_id):
    assert open_all(seal_all(plaintexts, aead_id), aead_id) == plaintexts


@given(streams, st.data())
def test_dropping_any_chunk_is_noticed(plaintexts, data):
    sealed = seal_all(plaintexts)
    del sealed[data.draw(st.integers(0, len(sealed) - 1))]
    with pytest.raises(SealingError):
        open_all(sealed)


@given(streams, st.data())
def test_repeating_any_chunk_is_noticed(plaintexts, data):
    sealed = seal_all(plaintexts)
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed.insert(place, sealed[place])
    with pytest.raises(SealingError):
        open_all(sealed)


@given(st.lists(st.binary(max_size=64), min_size=2, max_size=8), st.data())
def test_any_other_order_is_noticed(plaintexts, data):
    sealed = seal_all(plaintexts)
    order = data.draw(st.permutations(range(len(sealed))))
    if list(order) == sorted(order):
        return
    with pytest.raises(SealingError):
        open_all([sealed[i] for i in order])


@given(streams, st.data())
def test_any_changed_byte_is_noticed(plaintexts, data):
    sealed = seal_all(plaintexts)
    place = data.draw(st.integers(0, len(sealed) - 1))
    ciphertext, final = sealed[place]
    changed = bytearray(ciphertext)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    sealed[place] = bytes(changed), final
    with pytest.raises(SealingError):
        open_all(sealed)


@given(streams, st.binary(max_size=80), st.booleans())
def test_any_foreign_chunk_is_noticed(plaintexts, foreign, final):
    sealed = seal_all(plaintexts)
    sealed[-1] = foreign, final
    with pytest.raises(SealingError):
        open_all(sealed)
