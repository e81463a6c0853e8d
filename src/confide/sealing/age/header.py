"""The header of an age file: a version line, one stanza per recipient, a MAC.

    age-encryption.org/v1
    -> TYPE ARGUMENT...
    BODY, base64 without padding, 64 characters a line, the last one shorter
    --- MAC, base64 without padding

Base64 is canonical everywhere: bits that carry nothing are zero.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from confide.errors import AgeFileError

__all__ = ["MAX_HEADER", "MAX_STANZAS", "Header", "Stanza", "from_base64", "to_base64"]

MAX_HEADER: Final = 128 * 1024
"""Longest header that is read, in bytes; one post-quantum stanza has 1,574."""

MAX_STANZAS: Final = 64

_VERSION: Final = b"age-encryption.org/v1\n"
_COLUMNS: Final = 64
_ARGUMENTS: Final = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*")


def to_base64(data: bytes) -> str:
    """Standard alphabet, no padding."""
    return base64.b64encode(data).decode().rstrip("=")


def from_base64(text: str) -> bytes:
    """Read canonical base64 without padding.

    Raises:
        AgeFileError: Another alphabet, padding, or bits that carry nothing are set.
    """
    if not _BASE64.fullmatch(text):
        raise AgeFileError("base64 in the file has a character that does not belong there")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise AgeFileError("base64 in the file has an impossible length") from None
    if to_base64(data) != text:
        raise AgeFileError("base64 in the file is not canonical")
    return data


@dataclass(frozen=True, slots=True)
class Stanza:
    """The file key, wrapped for one recipient.

    Attributes:
        kind: Recipient type, such as "mlkem768x25519".
        arguments: What the type needs besides the body.
        body: The wrapped key.
    """

    kind: str
    arguments: tuple[str, ...]
    body: bytes

    def encode(self) -> bytes:
        """The stanza's lines."""
        text = to_base64(self.body)
        # A body whose text fills its last line is followed by an empty one.
        lines = [text[i : i + _COLUMNS] for i in range(0, len(text) + 1, _COLUMNS)]
        return "\n".join((" ".join(("->", self.kind, *self.arguments)), *lines, "")).encode()


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header, not yet authenticated.

    Attributes:
        stanzas: In the order of the file.
        covered: The bytes under the MAC: up to and with the three dashes.
        mac: 32 bytes.
        length: Bytes of the header; the payload starts there.
    """

    stanzas: tuple[Stanza, ...]
    covered: bytes
    mac: bytes
    length: int

    @staticmethod
    def cover(stanzas: tuple[Stanza, ...]) -> bytes:
        """Write the bytes that the MAC of a new header covers."""
        return b"".join((_VERSION, *(stanza.encode() for stanza in stanzas), b"---"))

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Read the header at the start of a file.

        Raises:
            AgeFileError: Not an age v1 header, or over a limit.
        """
        if not data.startswith(_VERSION):
            raise AgeFileError("not an age v1 file")
        end = data.find(b"\n---", 0, MAX_HEADER) + 1
        line_end = data.find(b"\n", end, end + 64) if end else -1
        if line_end < 0:
            raise AgeFileError("the header of the age file has no end")
        try:
            lines = data[len(_VERSION) : end].decode("ascii").split("\n")[:-1]
            last = data[end:line_end].decode("ascii")
        except UnicodeDecodeError:
            raise AgeFileError("the header of the age file is not ASCII") from None
        if not last.startswith("--- ") or len(mac := from_base64(last[4:])) != 32:
            raise AgeFileError("the header of the age file has no MAC")
        return cls(_stanzas(lines), data[: end + 3], mac, line_end + 1)


def _stanzas(lines: list[str]) -> tuple[Stanza, ...]:
    found: list[Stanza] = []
    position = 0
    while position < len(lines):
        if len(found) == MAX_STANZAS:
            raise AgeFileError(f"more than {MAX_STANZAS} recipients")
        words = lines[position]
        if not words.startswith("-> ") or not _ARGUMENTS.fullmatch(words, 3):
            raise AgeFileError("the header of the age file is not made of stanzas")
        start = position = position + 1
        while position < len(lines) and len(lines[position]) == _COLUMNS:
            position += 1
        if position == len(lines) or len(lines[position]) > _COLUMNS:
            raise AgeFileError("a stanza of the age file has no end")
        position += 1
        kind, *arguments = words[3:].split(" ")
        body = from_base64("".join(lines[start:position]))
        found.append(Stanza(kind, tuple(arguments), body))
    if not found:
        raise AgeFileError("the age file is for nobody")
    return tuple(found)
