"""Pad to fixed buckets, so that lengths say little.

Profiles: `off`; `bucket`, the default; `constant`, where in addition every tick
carries a chunk. Fixed buckets and not random amounts, because whoever can make the
same request again averages random padding away. Total size and duration remain
visible in steps; nothing here claims otherwise.

Padding of event streams is an SSE comment in a content chunk of its own. The opener
drops content chunks that start with `PADDING_COMMENT`; the sealer never starts a
chunk of real content with these bytes, so what the handler wrote arrives unchanged.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, cast

from confide.errors import ConfigError
from confide.wire.frames import encode_varint

__all__ = [
    "PADDING_COMMENT",
    "PaddingProfile",
    "comment_chunk",
    "pad_request",
    "pad_response",
    "padme",
]

PADDING_COMMENT = b":confide-pad "
MIN_REQUEST = 4 * 1024
MIN_RESPONSE = 1024
POWERS_UP_TO = 1024 * 1024

_SMALL = 256  # chunk multiple
_LARGE = 512  # chunk multiple above 8 events
_MANY_EVENTS = 8
_CONSTANT = 1024  # chunk multiple of profile constant
_MIN_COMMENT = 1 + len(PADDING_COMMENT) + 1  # length byte, prefix, line feed

ProfileName = Literal["off", "bucket", "constant"]


def padme(length: int) -> int:
    """Round up so that the length leaks O(log log length) bits; at most 12 % more.

    Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
    with PURBs" (PETS 2019), algorithm 1.
    """
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    zero_bits = exponent - exponent.bit_length()
    mask = (1 << zero_bits) - 1
    return (length + mask) & ~mask


def _bucket(length: int, smallest: int) -> int:
    if length <= smallest:
        return smallest
    if length <= POWERS_UP_TO:
        return 1 << (length - 1).bit_length()
    return padme(length)


def pad_request(length: int) -> int:
    """Padded length of a request message: powers of two 4 KiB to 1 MiB, Padme above.

    >>> [pad_request(n) for n in (1, 4096, 4097, 1_000_000, 1_048_577)]
    [4096, 4096, 8192, 1048576, 1081344]
    """
    return _bucket(length, MIN_REQUEST)


def pad_response(length: int) -> int:
    """Padded total length of an answer: powers of two 1 KiB to 1 MiB, Padme above."""
    return _bucket(length, MIN_RESPONSE)


@functools.lru_cache(maxsize=2048)
def comment_chunk(length: int) -> bytes:
    """Return a BHTTP content chunk of exactly `length` bytes that holds a padding comment.

    Args:
        length: At least 15, at most 16,385; the chunk's own length field counts.
    """
    # A two-byte length field from 65 up: no shortest form gives a chunk of 65 bytes.
    field = 1 if length <= 64 else 2
    content = length - field
    head = encode_varint(content) if field == 1 else (content | 0x4000).to_bytes(2, "big")
    return head + PADDING_COMMENT + b"0" * (content - len(PADDING_COMMENT) - 1) + b"\n"


@dataclass(frozen=True, slots=True)
class PaddingProfile:
    """How lengths are hidden, as the key document says.

    Attributes:
        name: "off", "bucket" or "constant".
        tick_ms: Milliseconds over which the caller gathers events into one chunk.
    """

    name: ProfileName = "bucket"
    tick_ms: int = 100

    @classmethod
    def parse(cls, name: str, tick_ms: int = 100) -> PaddingProfile:
        """Check a profile from settings or a key document.

        Raises:
            ConfigError: Unknown name, or a tick outside 0..60000 ms.
        """
        if name not in ("off", "bucket", "constant"):
            raise ConfigError(f"unknown padding profile {name!r}", hint="off, bucket or constant")
        if not 0 <= tick_ms <= 60000:
            raise ConfigError("tick_ms is not in 0..60000")
        return cls(cast(ProfileName, name), tick_ms)

    @property
    def pads(self) -> bool:
        """Whether anything is padded."""
        return self.name != "off"

    def pad_request(self, length: int) -> int:
        """Padded length of a request message."""
        return pad_request(length) if self.pads else length

    def pad_response(self, length: int) -> int:
        """Padded total length of an answer."""
        return pad_response(length) if self.pads else length

    def comment_for(self, plaintext_length: int, content: bytes) -> bytes:
        """Return the comment chunk that brings a chunk of an event stream to its bucket.

        Args:
            plaintext_length: Bytes of the chunk so far.
            content: The events in it; more than 8 choose the larger bucket.

        Returns:
            A content chunk, or nothing if the length is right already.
        """
        if self.name == "off":
            return b""
        if self.name == "constant":
            multiple = _CONSTANT
        else:
            multiple = _LARGE if content.count(b"\n\n") > _MANY_EVENTS else _SMALL
        gap = -plaintext_length % multiple
        if not gap and plaintext_length:
            return b""
        if gap < _MIN_COMMENT:
            gap += multiple
        return comment_chunk(gap)
