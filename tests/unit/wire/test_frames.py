"""Frames are cut out of any pieces, and lengths are believed up to the limit only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.errors import StreamError, StreamTruncated
from confide.wire.frames import (
    MAX_PLAINTEXT,
    TAG_LENGTH,
    Frame,
    FrameReader,
    decode_varint,
    encode_frame,
    encode_varint,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (37, "25"),
        (63, "3f"),
        (64, "4040"),
        (15293, "7bbd"),
        (16384, "80004000"),
        (494878333, "9d7f3e7d"),
        (151288809941952652, "c2197c5eff14e88c"),
        ((1 << 62) - 1, "ff" * 8),
    ],
)
def test_varints_are_those_of_rfc_9000(value, encoded):
    assert encode_varint(value).hex() == encoded
    assert decode_varint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@pytest.mark.parametrize("value", [-1, 1 << 62])
def test_a_value_out_of_range_is_not_encoded(value):
    with pytest.raises(ValueError):
        encode_varint(value)


def test_a_longer_form_of_a_varint_is_understood():
    assert decode_varint(bytes.fromhex("4025")) == (37, 2)


@pytest.mark.parametrize("encoded", ["", "40", "800040", "c2197c5eff14e8"])
def test_a_varint_that_has_not_arrived_is_waited_for(encoded):
    assert decode_varint(bytes.fromhex(encoded)) is None


plaintexts = st.lists(st.binary(min_size=1, max_size=300), max_size=5)


@given(plaintexts, st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1))
def test_frames_do_not_depend_on_how_the_bytes_arrive(chunks, last, steps):
    sent = [Frame(chunk + bytes(TAG_LENGTH), False) for chunk in chunks]
    final = Frame(last + bytes(TAG_LENGTH), True)
    stream = b"".join(encode_frame(*frame) for frame in [*sent, final])
    reader, received, at = FrameReader(), [], 0
    while at < len(stream):
        step = steps[at % len(steps)]
        received += reader.feed(stream[at : at + step])
        at += step
    assert [*received, reader.finish()] == [*sent, final]


def test_a_length_over_the_limit_is_refused_when_it_arrives():
    with pytest.raises(StreamError):
        FrameReader().feed(encode_varint(MAX_PLAINTEXT + TAG_LENGTH + 1))
    with pytest.raises(StreamError):
        FrameReader().feed(encode_varint(1 << 60))


def test_a_chunk_of_the_largest_size_is_accepted():
    ciphertext = bytes(MAX_PLAINTEXT + TAG_LENGTH)
    assert FrameReader().feed(encode_frame(ciphertext)) == [Frame(ciphertext, False)]


def test_a_final_chunk_over_the_limit_is_refused_before_the_end():
    reader = FrameReader()
    reader.feed(b"\x00" + bytes(MAX_PLAINTEXT + TAG_LENGTH))
    with pytest.raises(StreamError):
        reader.feed(b"\x00")


@pytest.mark.parametrize("length", [1, 15, 16])
def test_a_chunk_without_plaintext_before_the_end_is_refused(length):
    with pytest.raises(StreamError):
        FrameReader().feed(encode_varint(length))
    with pytest.raises(StreamError):
        encode_frame(bytes(length))


@pytest.mark.parametrize(
    "stream",
    [b"", b"\x11", b"\x11" + bytes(17), b"\x40\x64" + bytes(50), b"\x00", b"\x00" + bytes(15)],
)
def test_a_stream_that_ends_without_a_whole_final_chunk_is_truncated(stream):
    reader = FrameReader()
    reader.feed(stream)
    with pytest.raises(StreamTruncated):
        reader.finish()


def test_a_reader_that_failed_stays_failed():
    reader = FrameReader()
    with pytest.raises(StreamError):
        reader.feed(b"\x01")
    with pytest.raises(StreamError):
        reader.feed(b"\x00" + bytes(16))
    with pytest.raises(StreamError):
        reader.finish()
