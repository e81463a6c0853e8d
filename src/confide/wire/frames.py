"""Frames of a chunked stream: a QUIC varint length, then one sealed chunk.

draft-ietf-ohai-chunked-ohttp-08 section 4: a non-final chunk is preceded by its
length; the final chunk by the length 0 and runs to the end of the stream. Lengths
are not authenticated, so a reader believes them only up to its own limit, and the
opener decides what is genuine.
"""

from __future__ import annotations

from typing import NamedTuple

from confide.errors import StreamError, StreamTruncated

__all__ = [
    "MAX_PLAINTEXT",
    "TAG_LENGTH",
    "Frame",
    "FrameReader",
    "decode_varint",
    "encode_frame",
    "encode_varint",
]

MAX_PLAINTEXT = 16384
TAG_LENGTH = 16  # Nt of every AEAD in the registry
_MAX_VARINT = (1 << 62) - 1
_ONE_BYTE = tuple(bytes((n,)) for n in range(64))


def encode_varint(value: int) -> bytes:
    """Encode as a QUIC variable-length integer (RFC 9000 section 16), shortest form.

    Raises:
        ValueError: Negative, or 2**62 and above.
    """
    if 0 <= value < 0x40:
        return _ONE_BYTE[value]
    if 0 <= value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if 0 <= value < 0x40000000:
        return (value | 0x80000000).to_bytes(4, "big")
    if 0 <= value <= _MAX_VARINT:
        return (value | 0xC000000000000000).to_bytes(8, "big")
    raise ValueError("a varint holds 0 to 2**62 - 1")


def decode_varint(
    encoded: bytes | bytearray | memoryview, offset: int = 0
) -> tuple[int, int] | None:
    """Decode a varint that may not have arrived completely.

    Args:
        encoded: The bytes.
        offset: Where the varint starts.

    Returns:
        The value and the offset after it, or None if more bytes are needed.
    """
    if offset >= len(encoded):
        return None
    first = encoded[offset]
    end = offset + (1 << (first >> 6))
    if end > len(encoded):
        return None
    if first < 0x40:
        return first, end
    value = int.from_bytes(encoded[offset:end], "big")
    return value & ((1 << (8 * (end - offset) - 2)) - 1), end


class Frame(NamedTuple):
    """One sealed chunk and what the framing says about it.

    Attributes:
        ciphertext: Sealed chunk including its tag.
        final: The claim of the framing; a lie does not authenticate.
    """

    ciphertext: bytes
    final: bool


def encode_frame(ciphertext: bytes, final: bool = False) -> bytes:
    """Put the length before a sealed chunk; 0 says that it is the final one.

    Raises:
        StreamError: A non-final chunk without plaintext.
    """
    if final:
        return b"\x00" + ciphertext
    if len(ciphertext) <= TAG_LENGTH:
        raise StreamError("a chunk before the final one is not empty")
    return encode_varint(len(ciphertext)) + ciphertext


class FrameReader:
    """Cut a byte stream into frames. Push bytes in; complete frames come out.

    Never holds more than one chunk plus what was pushed, and refuses a length over
    the limit when the length arrives, before the bytes do.
    """

    __slots__ = ("_failed", "_final", "_limit", "_received", "_rest")

    def __init__(self, max_plaintext: int = MAX_PLAINTEXT) -> None:
        self._limit = max_plaintext + TAG_LENGTH
        self._rest = b""
        self._final = False
        self._failed = False
        self._received = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes from the transport; return the non-final frames completed by them.

        Raises:
            StreamError: A length over the limit, or an empty non-final chunk. The
                reader stays unusable.
        """
        if self._failed:
            raise StreamError("the stream already failed")
        source = self._rest + data if self._rest else bytes(data)
        frames: list[Frame] = []
        offset = 0
        while not self._final:
            head = decode_varint(source, offset)
            if head is None:
                break
            length, start = head
            if length == 0:
                self._final = True
                offset = start
                break
            if not TAG_LENGTH < length <= self._limit:
                raise self._failure("a chunk is empty or larger than the limit")
            end = start + length
            if end > len(source):
                break
            frames.append(Frame(source[start:end], False))
            offset = end
        self._rest = source[offset:] if offset else source
        self._received += len(frames)
        if self._final and len(self._rest) > self._limit:
            raise self._failure("the final chunk is larger than the limit")
        return frames

    def finish(self) -> Frame:
        """Say that the transport ended; return the final frame.

        Raises:
            StreamTruncated: The stream ended before or inside a final chunk.
            StreamError: The stream already failed.
        """
        if self._failed:
            raise StreamError("the stream already failed")
        self._failed = True
        if not self._final or len(self._rest) < TAG_LENGTH:
            raise StreamTruncated(self._received)
        return Frame(self._rest, True)

    def _failure(self, reason: str) -> StreamError:
        self._failed = True
        self._rest = b""
        return StreamError(reason)
