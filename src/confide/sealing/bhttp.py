"""Binary HTTP messages (RFC 9292), known and indeterminate length.

Inside every seal is one of these. Decoders enforce their limits on declared lengths
before they copy, accept the truncation of section 3.8 at the boundaries of empty
parts only, and want nothing but zeros after the end (padding).

The incremental decoder of answers is `confide.sealing.bhttp_stream`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from confide.sealing.fields import Fields, check_field, encode_lines, malformed, too_large
from confide.wire.frames import decode_varint, encode_varint

__all__ = [
    "MAX_BODY",
    "MAX_FIELDS",
    "InnerRequest",
    "InnerResponse",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "encode_response_head",
]

MAX_BODY = 32 * 1024 * 1024
MAX_FIELDS = 64 * 1024
MAX_INFORMATIONAL = 16
_MAX_CONTROL = 16 * 1024
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,63}")
_VISIBLE = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class InnerRequest:
    """A request as it is inside the seal. `repr` shows no headers and no content."""

    method: str
    scheme: str
    authority: str
    path: str
    headers: Fields = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    trailers: Fields = field(default=(), repr=False)

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a lower-case header name, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class InnerResponse:
    """An answer as it is inside the seal. `repr` shows no headers and no content."""

    status: int
    headers: Fields = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    trailers: Fields = field(default=(), repr=False)
    informational: tuple[tuple[int, Fields], ...] = field(default=(), repr=False)


def encode_request(
    request: InnerRequest,
    *,
    indeterminate: bool = False,
    pad_to: Callable[[int], int] | None = None,
) -> bytes:
    """Encode a request.

    Args:
        request: What to encode.
        indeterminate: Which of the two framings.
        pad_to: Padded length for a length, in bytes; zeros are added after the end.

    Raises:
        SealingError: A part has characters HTTP does not allow.
    """
    control = (request.method, request.scheme, request.authority, request.path)
    _check_control(*control)
    parts = [b"\x02" if indeterminate else b"\x00"]
    for one in control:
        encoded = one.encode("ascii")
        parts += (encode_varint(len(encoded)), encoded)
    _append_rest(parts, request.headers, request.body, request.trailers, indeterminate)
    if pad_to is not None:
        length = sum(map(len, parts))
        parts.append(bytes(max(0, pad_to(length) - length)))
    return b"".join(parts)


def encode_response(response: InnerResponse, *, indeterminate: bool = False) -> bytes:
    """Encode a whole answer.

    Raises:
        SealingError: A field or a status HTTP does not allow.
    """
    parts = [b"\x03" if indeterminate else b"\x01"]
    for status, fields in response.informational:
        if not 100 <= status <= 199:
            raise malformed("an informational status is not 1xx")
        parts += (encode_varint(status), _section(fields, indeterminate))
    if not 200 <= response.status <= 599:
        raise malformed("the status is not 200 to 599")
    parts.append(encode_varint(response.status))
    _append_rest(parts, response.headers, response.body, response.trailers, indeterminate)
    return b"".join(parts)


def encode_response_head(status: int, headers: Fields) -> bytes:
    """Encode framing indicator, status and header section of an indeterminate-length answer.

    Raises:
        SealingError: A field or a status HTTP does not allow.
    """
    if not 200 <= status <= 599:
        raise malformed("the status is not 200 to 599")
    return b"\x03" + encode_varint(status) + _section(headers, True)


def _section(fields: Fields, indeterminate: bool) -> bytes:
    lines = encode_lines(fields)
    return lines + b"\x00" if indeterminate else encode_varint(len(lines)) + lines


def _append_rest(
    parts: list[bytes], headers: Fields, body: bytes, trailers: Fields, indeterminate: bool
) -> None:
    parts.append(_section(headers, indeterminate))
    if body or not indeterminate:
        parts += (encode_varint(len(body)), body)
    if indeterminate:
        parts.append(b"\x00")
    parts.append(_section(trailers, indeterminate))


def _check_control(method: str, scheme: str, authority: str, path: str) -> None:
    if not (_METHOD.fullmatch(method) and _SCHEME.fullmatch(scheme)):
        raise malformed("the method or the scheme has characters that are not allowed")
    if not (_VISIBLE.fullmatch(authority) and _VISIBLE.fullmatch(path) and path):
        raise malformed("the authority or the path has characters that are not allowed")


class _Cursor:
    """Reads a complete message from front to back."""

    __slots__ = ("at", "message")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.at = 0

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.message)

    def varint(self) -> int:
        decoded = decode_varint(self.message, self.at)
        if decoded is None:
            raise malformed("it is cut inside a length")
        value, self.at = decoded
        return value

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.message):
            raise malformed("it is cut inside a part")
        taken = self.message[self.at : end]
        self.at = end
        return taken

    def sized(self, limit: int, what: str) -> bytes:
        length = self.varint()
        if length > limit:
            raise too_large(what)
        return self.take(length)


def _control_text(cursor: _Cursor) -> str:
    try:
        return cursor.sized(_MAX_CONTROL, "control data").decode("ascii")
    except UnicodeDecodeError:
        raise malformed("control data is not ASCII") from None


def _line(cursor: _Cursor, limit: int) -> tuple[bytes, bytes]:
    name = cursor.sized(limit, "fields")
    value = cursor.sized(limit, "fields")
    check_field(name, value)
    return name, value


def _fields(cursor: _Cursor, limit: int, indeterminate: bool) -> Fields:
    """Read a field section; nothing left means an empty one (section 3.8)."""
    if cursor.at_end:
        return ()
    if indeterminate:
        return _terminated_fields(cursor, limit)
    section = _Cursor(cursor.sized(limit, "fields"))
    lines: list[tuple[bytes, bytes]] = []
    while not section.at_end:
        lines.append(_line(section, limit))
    return tuple(lines)


def _terminated_fields(cursor: _Cursor, limit: int) -> Fields:
    lines: list[tuple[bytes, bytes]] = []
    end = cursor.at + limit
    while True:
        if cursor.message[cursor.at : cursor.at + 1] == b"\x00":
            cursor.at += 1
            return tuple(lines)
        lines.append(_line(cursor, limit))
        if cursor.at > end:
            raise too_large("fields")


def _content(cursor: _Cursor, limit: int, indeterminate: bool) -> bytes:
    if cursor.at_end:
        return b""
    if not indeterminate:
        return cursor.sized(limit, "body")
    chunks: list[bytes] = []
    total = 0
    while length := cursor.varint():
        total += length
        if total > limit:
            raise too_large("body")
        chunks.append(cursor.take(length))
    return b"".join(chunks)


def _end(cursor: _Cursor) -> None:
    if cursor.message[cursor.at :].strip(b"\x00"):
        raise malformed("something other than padding follows its end")


def _open_framing(message: bytes, known: int) -> tuple[_Cursor, bool]:
    cursor = _Cursor(message)
    framing = cursor.varint()
    if framing not in (known, known + 2):
        raise malformed("unexpected framing indicator")
    return cursor, framing != known


def decode_request(
    message: bytes, *, max_body: int = MAX_BODY, max_fields: int = MAX_FIELDS
) -> InnerRequest:
    """Decode a request of either framing.

    Args:
        message: The whole message with its padding.
        max_body: Bytes of content accepted.
        max_fields: Bytes of each field section accepted.

    Raises:
        SealingError: Code "malformed-message" or "too-large".
    """
    cursor, indeterminate = _open_framing(message, 0)
    method, scheme, authority, path = (_control_text(cursor) for _ in range(4))
    _check_control(method, scheme, authority, path)
    headers = _fields(cursor, max_fields, indeterminate)
    body = _content(cursor, max_body, indeterminate)
    trailers = _fields(cursor, max_fields, indeterminate)
    _end(cursor)
    return InnerRequest(method, scheme, authority, path, headers, body, trailers)


def decode_response(
    message: bytes, *, max_body: int = MAX_BODY, max_fields: int = MAX_FIELDS
) -> InnerResponse:
    """Decode a whole answer of either framing; limits and errors as `decode_request`."""
    cursor, indeterminate = _open_framing(message, 1)
    informational: list[tuple[int, Fields]] = []
    while 100 <= (status := cursor.varint()) <= 199:
        informational.append((status, _fields(cursor, max_fields, indeterminate)))
        if len(informational) > MAX_INFORMATIONAL:
            raise too_large("informational responses")
    if not 200 <= status <= 599:
        raise malformed("the status is not 200 to 599")
    headers = _fields(cursor, max_fields, indeterminate)
    body = _content(cursor, max_body, indeterminate)
    trailers = _fields(cursor, max_fields, indeterminate)
    _end(cursor)
    return InnerResponse(status, headers, body, trailers, tuple(informational))
