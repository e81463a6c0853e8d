"""Field sections of Binary HTTP: check, encode and decode header lines.

RFC 9292 section 3.6: names are lower-case; what HTTP/2 calls malformed (RFC 9113
section 8.2.1) is refused in both directions, so nothing that went through here can
smuggle a line break or a pseudo-header.
"""

from __future__ import annotations

import re

from confide.errors import SealingError
from confide.wire.frames import encode_varint

__all__ = ["Fields", "check_field", "encode_lines", "malformed", "too_large"]

Fields = tuple[tuple[bytes, bytes], ...]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[^\x00\r\n \t](?:[^\x00\r\n]*[^\x00\r\n \t])?)?", re.DOTALL)


def malformed(reason: str) -> SealingError:
    """Make the error of a message that opened and is not Binary HTTP."""
    return SealingError(f"the sealed message is malformed: {reason}", code="malformed-message")


def too_large(what: str) -> SealingError:
    """Make the error of a message over a limit."""
    return SealingError(f"the sealed message is too large: {what}", code="too-large")


def check_field(name: bytes, value: bytes) -> None:
    """Refuse a field HTTP/2 would call malformed.

    Raises:
        SealingError: Code "malformed-message".
    """
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise malformed("a field has characters that are not allowed")


def encode_lines(fields: Fields) -> bytes:
    """Encode field lines without the section's length or terminator.

    Raises:
        SealingError: A field is not allowed.
    """
    parts: list[bytes] = []
    for name, value in fields:
        check_field(name, value)
        parts += (encode_varint(len(name)), name, encode_varint(len(value)), value)
    return b"".join(parts)
