"""Read and write server-sent events, however the network cuts them.

Source: WHATWG HTML, section 9.2 "Server-sent events". Only the fields the OpenAI shape
uses are kept: `event` and `data`. Comments are dropped; `id` and `retry` are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Event", "EventParser", "encode_event"]

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event.

    Attributes:
        data: The data lines, joined by line feeds.
        name: The `event` field, or "message".
    """

    data: str
    name: str = "message"


class EventParser:
    """Turn bytes into events. Not safe for concurrent use.

    The events do not depend on where the bytes were cut. An event that is not closed by an
    empty line when the stream ends is dropped, as the standard says.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._started = False
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, content: bytes) -> list[Event]:
        """Take the next bytes and return the events they complete."""
        self._rest += content
        if not self._started:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return []  # may still become a byte order mark
            self._rest = self._rest.removeprefix(_BOM)
            self._started = True
        # A carriage return at the very end may be the first half of CR LF.
        held = b"\r" if self._rest.endswith(b"\r") else b""
        *lines, rest = _LINE_END.split(self._rest.removesuffix(held))
        self._rest = rest + held
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        if not data:
            return None
        return Event(b"\n".join(data).decode("utf-8", "replace"), name or "message")


def encode_event(data: str, name: str | None = None) -> bytes:
    """Write one event.

    Args:
        data: Text; every line break in it starts a new data line.
        name: The `event` field; left out if None.

    Raises:
        ValueError: The name holds a line break.
    """
    lines = []
    if name is not None:
        if "\n" in name or "\r" in name:
            raise ValueError("the name of an event holds no line break")
        lines.append(f"event: {name}")
    text = data.replace("\r\n", "\n").replace("\r", "\n")
    lines.extend(f"data: {line}" for line in text.split("\n"))
    return ("\n".join(lines) + "\n\n").encode()
