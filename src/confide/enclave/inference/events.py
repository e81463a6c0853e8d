"""Server-sent events as bytes: cut a stream at event borders, write one event.

Only what a model stream uses: `data:` lines, LF or CRLF line ends, a blank line between
events, comments. Bytes pass through unchanged.

Source: WHATWG HTML, section 9.2.6 (event stream interpretation).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

__all__ = ["DONE", "EventSplitter", "EventTooLong", "event_json", "event_payload", "write_event"]

#: The event that ends a stream of the OpenAI API.
DONE: Final = b"data: [DONE]\n\n"

_BORDER: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class EventTooLong(ValueError):
    """One event is over the limit; the stream cannot be used further."""


class EventSplitter:
    """Cuts a byte stream into whole events.

    Args:
        max_event: Largest event in bytes.
    """

    def __init__(self, max_event: int = 8 * 1024 * 1024) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._max_event = max_event

    def feed(self, received: bytes) -> list[bytes]:
        """Take bytes as they arrive; return the events they complete, terminators included.

        Raises:
            EventTooLong: An event grew over the limit before it ended.
        """
        self._buffer += received
        events: list[bytes] = []
        start = 0
        while border := _BORDER.search(self._buffer, max(start, self._searched)):
            events.append(bytes(self._buffer[start : border.end()]))
            start = border.end()
            self._searched = start
        del self._buffer[:start]
        # A border of up to four bytes may lie across this piece and the next.
        self._searched = max(0, len(self._buffer) - 3)
        if len(self._buffer) > self._max_event:
            raise EventTooLong
        return events

    def rest(self) -> bytes:
        """What is left when the transport ends: an event without its blank line, or nothing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return rest


def event_payload(event: bytes) -> bytes | None:
    """Join the `data:` lines of one event; None if it has none (a comment, a keep-alive)."""
    lines = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
    return b"\n".join(lines) if lines else None


def event_json(event: bytes) -> dict[str, object] | None:
    """Parse the JSON object of one event; None if it carries none (also for `[DONE]`)."""
    payload = event_payload(event)
    if payload is None or not payload.lstrip().startswith(b"{"):
        return None
    try:
        parsed = json.loads(payload)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def write_event(content: Mapping[str, object]) -> bytes:
    """Write one JSON object as an event."""
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"
