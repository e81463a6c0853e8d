"""Change single fields of a JSON body and leave every other byte as the client sent it.

Parsing and writing a body again would reorder keys, reformat numbers and drop what a newer
client says; engines and clients disagree about such things. So a body is scanned once: where
each top-level field lies, and what it holds.

A name that occurs twice in one object is refused at every depth: two parsers may pick
different ones, and a check on the one says nothing about the other.

Source: RFC 8259, section 4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from confide.errors import InvalidRequest

__all__ = ["JSONBody", "add_fields"]

_SPACE: Final = re.compile(r"[ \t\n\r]*")


class _DuplicateName(ValueError):
    """An object names a field twice."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateName
    return found


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique)


class JSONBody:
    """A JSON object as received, with the position of each top-level field.

    Args:
        raw: UTF-8 bytes of one JSON object.

    Attributes:
        raw: The same bytes.
        fields: The parsed object, read-only.

    Raises:
        InvalidRequest: Not UTF-8, not one JSON object, a name given twice, nested too deep.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        # name -> start of the name, start of the value, end of the value, in characters
        self._spans: dict[str, tuple[int, int, int]] = {}
        fields: dict[str, object] = {}
        try:
            self._text = raw.decode("utf-8")
            self._first = self._scan(fields)
        except _DuplicateName:
            raise InvalidRequest("the body names a field twice") from None
        except (ValueError, RecursionError):
            # The cause would quote the body.
            raise InvalidRequest("the body is not a JSON object") from None
        self.fields: Mapping[str, object] = MappingProxyType(fields)

    def __repr__(self) -> str:
        return f"JSONBody({len(self.raw)} bytes)"

    def _skip(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return found.end() if found else position

    def _expect(self, character: str, position: int) -> int:
        position = self._skip(position)
        if self._text[position : position + 1] != character:
            raise ValueError(character)
        return position + 1

    def _scan(self, fields: dict[str, object]) -> int:
        """Fill `fields` and the spans; return the position after the opening brace."""
        first = self._expect("{", 0)
        position = self._skip(first)
        if self._text[position : position + 1] != "}":
            position = self._scan_members(position, fields)
        if self._skip(self._expect("}", position)) != len(self._text):
            raise ValueError
        return first

    def _scan_members(self, position: int, fields: dict[str, object]) -> int:
        while True:
            named = self._skip(position)
            name, position = _DECODER.raw_decode(self._text, named)
            if not isinstance(name, str):
                raise ValueError
            if name in fields:
                raise _DuplicateName
            start = self._skip(self._expect(":", position))
            fields[name], position = _DECODER.raw_decode(self._text, start)
            self._spans[name] = (named, start, position)
            following = self._skip(position)
            if self._text[following : following + 1] != ",":
                return position
            position = following + 1

    def with_fields(self, changes: Mapping[str, object]) -> bytes:
        """Return the body with these top-level fields set; nothing else changes.

        A field that is present keeps its place; a new one comes first.
        """
        text = self._text
        present = [(self._spans[name], name) for name in changes if name in self._spans]
        for (_, start, end), name in sorted(present, reverse=True):
            text = text[:start] + _write(changes[name]) + text[end:]
        new = [
            f"{_write(name)}:{_write(changes[name])}" for name in changes if name not in self._spans
        ]
        if new:
            comma = "," if self._spans else ""
            text = text[: self._first] + ",".join(new) + comma + text[self._first :]
        return text.encode("utf-8")

    def without(self, name: str) -> bytes:
        """Return the body without one top-level field; nothing else changes."""
        if name not in self._spans:
            return self.raw
        spans = list(self._spans.values())
        place = list(self._spans).index(name)
        if place + 1 < len(spans):
            start, end = spans[place][0], spans[place + 1][0]
        else:
            start, end = (spans[place - 1][2] if place else spans[place][0]), spans[place][2]
        return (self._text[:start] + self._text[end:]).encode("utf-8")


def add_fields(raw: bytes, present: Collection[str], new: Mapping[str, object]) -> bytes:
    """Put new top-level fields at the start of a body that `JSONBody` has accepted.

    Args:
        raw: The body.
        present: Names of the fields it has.
        new: Fields it does not have.

    Raises:
        ValueError: It has one of them; the body would name it twice.
    """
    if not new:
        return raw
    if not new.keys().isdisjoint(present):
        raise ValueError("the body already has one of these fields")
    written = ",".join(f"{_write(name)}:{_write(value)}" for name, value in new.items())
    brace = raw.index(b"{") + 1
    comma = b"," if present else b""
    return raw[:brace] + written.encode("utf-8") + comma + raw[brace:]


def _write(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
