"""The text form of an age file: strict PEM with 64 columns."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from confide.errors import AgeFileError

__all__ = ["is_armored", "unwrap", "wrap"]

_BEGIN: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END: Final = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS: Final = 64


def is_armored(data: bytes) -> bool:
    """Say whether a file is in the text form; white space may come first."""
    return data[:1024].lstrip().startswith(_BEGIN)


def wrap(data: bytes) -> bytes:
    """Write a binary age file as text."""
    text = base64.b64encode(data)
    lines = [text[i : i + _COLUMNS] for i in range(0, len(text), _COLUMNS)]
    return b"\n".join((_BEGIN, *lines, _END, b""))


def unwrap(data: bytes) -> bytes:
    """Read the text form; line ends may be CRLF, white space may surround it.

    Raises:
        AgeFileError: Lines of another length, a missing end, or base64 that is not canonical.
    """
    begin, *lines = data.strip().replace(b"\r\n", b"\n").split(b"\n")
    if begin != _BEGIN or len(lines) < 2 or lines.pop() != _END:
        raise AgeFileError("the text form of the age file has no end")
    *full, last = lines
    if any(len(line) != _COLUMNS for line in full) or not 0 < len(last) <= _COLUMNS:
        raise AgeFileError("the text form of the age file has a line of the wrong length")
    text = b"".join(lines)
    try:
        binary = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise AgeFileError("the text form of the age file is not base64") from None
    if base64.b64encode(binary) != text:
        raise AgeFileError("the text form of the age file is not canonical")
    return binary
