"""Decode an answer of indeterminate length while it arrives (RFC 9292 section 3.2).

Plaintext goes in, in any pieces; the head and the content come out as soon as they
are there. The end is reported by `finish`, because only the caller knows whether
the final chunk was opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from confide.sealing.bhttp import MAX_FIELDS, MAX_INFORMATIONAL
from confide.sealing.fields import Fields, check_field, malformed, too_large
from confide.wire.frames import decode_varint

__all__ = ["ResponseBody", "ResponseDecoder", "ResponseEnd", "ResponseEvent", "ResponseHead"]


class ResponseHead(NamedTuple):
    """Status and headers of the answer."""

    status: int
    headers: Fields

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


class ResponseBody(NamedTuple):
    """A piece of the content, as the handler wrote it; never empty."""

    content: bytes

    def __repr__(self) -> str:
        return f"<ResponseBody of {len(self.content)} bytes>"


class ResponseEnd(NamedTuple):
    """The authenticated end, with the trailers."""

    trailers: Fields

    def __repr__(self) -> str:
        return "<ResponseEnd>"


ResponseEvent = ResponseHead | ResponseBody | ResponseEnd


class ResponseDecoder:
    """Push decoder of one answer.

    Args:
        padding_prefix: Content chunks of event streams that start with these bytes
            are padding and dropped.
        max_fields: Bytes of each field section accepted.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_content_left",
        "_content_seen",
        "_dropping",
        "_events",
        "_field_bytes",
        "_informational",
        "_lines",
        "_max_fields",
        "_prefix",
        "_status",
        "_step",
        "_strips",
        "_trailers",
    )

    def __init__(self, padding_prefix: bytes = b"", *, max_fields: int = MAX_FIELDS) -> None:
        self._prefix = padding_prefix
        self._max_fields = max_fields
        self._buffer = bytearray()
        self._at = 0
        self._events: list[ResponseEvent] = []
        self._lines: list[tuple[bytes, bytes]] = []
        self._field_bytes = 0
        self._informational = 0
        self._status = 0
        self._content_left = 0
        self._content_seen = False
        self._strips = False
        self._dropping = False
        self._trailers: Fields | None = None
        self._step: Callable[[], bool] = self._framing

    def feed(self, plaintext: bytes) -> list[ResponseEvent]:
        """Take opened plaintext; return what it completed.

        Raises:
            SealingError: Not an indeterminate-length answer, or over a limit.
        """
        self._buffer += plaintext
        while self._step():
            pass
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        events, self._events = self._events, []
        return events

    def finish(self) -> ResponseEnd | None:
        """Say that the final chunk was opened.

        Returns:
            The end, or None if the message is incomplete.
        """
        pending = len(self._buffer) > self._at or bool(self._lines)
        step = self._step
        if self._trailers is not None:
            return ResponseEnd(self._trailers)
        if pending:
            return None
        # Section 3.8: empty content and empty trailers may be left out at the end.
        if step == self._trailer_line or (step == self._chunk_length and not self._content_seen):
            return ResponseEnd(())
        return None

    def _varint(self) -> int | None:
        decoded = decode_varint(self._buffer, self._at)
        if decoded is None:
            return None
        value, self._at = decoded
        return value

    def _framing(self) -> bool:
        framing = self._varint()
        if framing is None:
            return False
        if framing != 3:
            raise malformed("the answer is not of indeterminate length")
        self._step = self._status_code
        return True

    def _status_code(self) -> bool:
        status = self._varint()
        if status is None:
            return False
        if not 100 <= status <= 599:
            raise malformed("the status is not 100 to 599")
        self._status = status
        self._step = self._header_line
        return True

    def _line(self) -> bool | None:
        """Read one field line: True if one was read, False at the terminator, None to wait."""
        buffer, at = self._buffer, self._at
        name = decode_varint(buffer, at)
        if name is None:
            return None
        if name[0] == 0:
            self._at = name[1]
            return False
        value_at = name[1] + name[0]
        if self._field_bytes + name[0] > self._max_fields:
            raise too_large("fields")
        value = decode_varint(buffer, value_at)
        if value is None:
            return None
        end = value[1] + value[0]
        if self._field_bytes + end - at > self._max_fields:
            raise too_large("fields")
        if end > len(buffer):
            return None
        line = bytes(buffer[name[1] : value_at]), bytes(buffer[value[1] : end])
        check_field(*line)
        self._lines.append(line)
        self._field_bytes += end - at
        self._at = end
        return True

    def _take_section(self) -> Fields:
        fields, self._lines, self._field_bytes = tuple(self._lines), [], 0
        return fields

    def _header_line(self) -> bool:
        more = self._line()
        if more is not False:
            return more is True
        headers = self._take_section()
        if self._status < 200:
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise too_large("informational responses")
            self._step = self._status_code
            return True
        self._events.append(ResponseHead(self._status, headers))
        self._strips = bool(self._prefix) and is_event_stream(headers)
        self._step = self._chunk_length
        return True

    def _chunk_length(self) -> bool:
        length = self._varint()
        if length is None:
            return False
        self._content_left = length
        self._content_seen = True
        if not length:
            self._step = self._trailer_line
        else:
            self._step = self._chunk_start if self._strips else self._chunk_content
        return True

    def _chunk_start(self) -> bool:
        prefix = self._prefix
        have = len(self._buffer) - self._at
        if have < min(len(prefix), self._content_left):
            return False
        self._dropping = self._content_left >= len(prefix) and self._buffer.startswith(
            prefix, self._at
        )
        self._step = self._chunk_content
        return True

    def _chunk_content(self) -> bool:
        at = self._at
        end = min(len(self._buffer), at + self._content_left)
        if end == at:
            return False
        if not self._dropping:
            self._events.append(ResponseBody(bytes(self._buffer[at:end])))
        self._content_left -= end - at
        self._at = end
        if self._content_left:
            return False
        self._dropping = False
        self._step = self._chunk_length
        return True

    def _trailer_line(self) -> bool:
        more = self._line()
        if more is not False:
            return more is True
        self._trailers = self._take_section()
        self._step = self._padding
        return True

    def _padding(self) -> bool:
        if self._buffer[self._at :].strip(b"\x00"):
            raise malformed("something other than padding follows its end")
        self._at = len(self._buffer)
        return False


def is_event_stream(headers: Fields) -> bool:
    """Say whether the content type is text/event-stream."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )
