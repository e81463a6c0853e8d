"""Read DER (ITU-T X.690) one element at a time: definite lengths, shortest form, in bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["DerReader", "Element", "Malformed"]

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
CONTEXT_0: Final = 0xA0
CONTEXT_3: Final = 0xA3

_LONG_FORM: Final = 0x80
_MAX_LENGTH_BYTES: Final = 3
_MAX_INTEGER: Final = 32


class Malformed(ValueError):
    """Not DER of the expected form."""


@dataclass(frozen=True)
class Element:
    """One element.

    Attributes:
        tag: Its tag byte.
        content: Its content.
        whole: Tag, length and content.
    """

    tag: int
    content: bytes = field(repr=False)
    whole: bytes = field(repr=False)


class DerReader:
    """Reads elements one after the other.

    Args:
        content: The bytes, from anyone.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._content)

    @property
    def next_tag(self) -> int | None:
        """The tag of the next element, or None at the end."""
        return self._content[self._at] if self.more else None

    def any(self) -> Element:
        """Read the next element, whatever it is.

        Raises:
            Malformed: Cut off, indefinite, or a length not in its shortest form.
        """
        start, content = self._at, self._content
        if len(content) - start < 2:
            raise Malformed("cut off")
        length, body = content[start + 1], start + 2
        if length >= _LONG_FORM:
            count = length - _LONG_FORM
            digits = content[body : body + count]
            if not 1 <= count <= _MAX_LENGTH_BYTES or len(digits) != count or digits[0] == 0:
                raise Malformed("a length of another form")
            length, body = int.from_bytes(digits, "big"), body + count
            if length < _LONG_FORM:
                raise Malformed("a length that is not the shortest")
        if length > len(content) - body:
            raise Malformed("cut off")
        self._at = body + length
        return Element(content[start], content[body : self._at], content[start : self._at])

    def take(self, *tags: int) -> Element:
        """Read the next element, which must have one of the tags.

        Raises:
            Malformed: Another tag, or `any` refuses it.
        """
        if self.next_tag not in tags:
            raise Malformed(f"tag {self.next_tag}, not {' or '.join(map(str, tags))}")
        return self.any()

    def enter(self, tag: int) -> DerReader:
        """Read an element and return a reader of its content."""
        return DerReader(self.take(tag).content)

    def integer(self) -> int:
        """Read a non-negative INTEGER of at most 32 bytes.

        Raises:
            Malformed: Negative, too long, or not the shortest form.
        """
        content = self.take(INTEGER).content
        padded = len(content) > 1 and content[0] == 0 and content[1] < _LONG_FORM
        if not 1 <= len(content) <= _MAX_INTEGER or content[0] >= _LONG_FORM or padded:
            raise Malformed("an integer of another form")
        return int.from_bytes(content, "big")

    def end(self) -> None:
        """Refuse anything that is left.

        Raises:
            Malformed: Something is.
        """
        if self.more:
            raise Malformed("something follows")
