"""Read the fields of a multipart form and leave every byte as the client sent it.

The form goes on to the engine as it came, which parses it again. Two parsers must not find
different models in one form, so this one is strict: a name may be given once, part headers
are those that file uploads have, and nothing lies before the first part or after the last.
Only a model's name is ever replaced, in its place.

Nothing of a file is copied; fields have limits that are checked while they are read.

Source: RFC 7578; RFC 2046 section 5.1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from confide.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["FormBody"]

#: Parts of one form, with the file.
MAX_PARTS: Final = 64
#: Bytes of all fields together, without the file.
MAX_FIELDS: Final = 256 * 1024
#: Bytes of one header line of a part.
MAX_HEADER: Final = 4096

_MEDIA_TYPE: Final = re.compile(
    r'multipart/form-data\s*;\s*boundary=(?:"([A-Za-z0-9\'()+_,./:=? -]{1,70})"'
    r"|([A-Za-z0-9'+_.-]{1,70}))\s*",
    re.ASCII | re.IGNORECASE,
)
_PART_HEADERS: Final = frozenset({b"content-disposition", b"content-type", b"content-length"})
_PARAMETER: Final = re.compile(
    rb';\s*(name|filename|filename\*)=(?:"([^"\\\r\n]*)"|([A-Za-z0-9_.+%\'\x2d\[\]]+))\s*',
    re.IGNORECASE,
)

# The library's log lines quote the bytes that it stumbled over.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())
logging.getLogger("python_multipart").propagate = False


class _Part:
    """One part while it is read: offsets into the body, nothing copied."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.name = ""
        self.is_file = False
        self.start = self.end = 0


class FormBody:
    """A multipart form as received.

    Args:
        raw: The whole body.
        content_type: Value of the header, with the boundary.

    Attributes:
        raw: The same bytes.
        content_type: The same value.
        fields: Text fields by name, read-only; of a name that ends in `[]` all values, as a
            list.
        files: Names of the parts that are files.

    Raises:
        InvalidRequest: No multipart form, malformed, over a limit, or a name given twice.
    """

    def __init__(self, raw: bytes, content_type: str) -> None:
        found = _MEDIA_TYPE.fullmatch(content_type.strip())
        if found is None:
            raise InvalidRequest(
                "the body must be multipart/form-data with a boundary", param="content-type"
            )
        self.raw = raw
        self.content_type = content_type
        self._spans: dict[str, tuple[int, int]] = {}
        boundary = (found[1] or found[2]).encode()
        fields: dict[str, object] = {}
        files: list[str] = []
        for part in _parts(raw, boundary):
            self._take(part, fields, files)
        self.fields: Mapping[str, object] = MappingProxyType(fields)
        self.files = tuple(files)

    def __repr__(self) -> str:
        return f"FormBody({len(self.raw)} bytes)"

    def _take(self, part: _Part, fields: dict[str, object], files: list[str]) -> None:
        name = part.name
        if part.is_file:
            if name in files or name in fields:
                raise _malformed("a part is given twice")
            files.append(name)
            return
        try:
            value = self.raw[part.start : part.end].decode("utf-8")
        except UnicodeDecodeError:
            raise _malformed("a field is not UTF-8") from None
        if name.endswith("[]"):
            values = fields.setdefault(name, [])
            assert isinstance(values, list)  # noqa: S101 - only lists are kept under such names
            values.append(value)
            return
        if name in fields or name in files:
            raise _malformed("a part is given twice")
        fields[name] = value
        self._spans[name] = (part.start, part.end)

    def with_fields(self, changes: Mapping[str, object]) -> bytes:
        """Return the form with the values of fields it has replaced; nothing else changes.

        Raises:
            KeyError: It does not have one of them.
        """
        raw = self.raw
        for (start, end), name in sorted(((self._spans[n], n) for n in changes), reverse=True):
            raw = raw[:start] + str(changes[name]).encode() + raw[end:]
        return raw


def _parts(raw: bytes, boundary: bytes) -> list[_Part]:
    delimiter = b"--" + boundary
    if not raw.startswith(delimiter + b"\r\n"):
        raise _malformed("it does not start with its boundary")
    if not raw.removesuffix(b"\r\n").endswith(b"\r\n" + delimiter + b"--"):
        raise _malformed("it does not end with its boundary")
    reader = _Reader()
    parser = MultipartParser(
        boundary, reader.callbacks(), max_header_count=4, max_header_size=MAX_HEADER
    )
    # One write of the whole, so that the parser's offsets are offsets into the body.
    try:
        parser.write(raw.removesuffix(b"\r\n"))
        parser.finalize()
    except FormParserError:
        raise _malformed("it cannot be parsed") from None
    _check_ends(raw, b"\r\n" + delimiter, reader)
    return reader.parts


def _check_ends(raw: bytes, delimiter: bytes, reader: _Reader) -> None:
    """Compare what was read with where delimiters lie: as many as parts, each at a part's end.

    So there is nothing after the end, and nothing inside a part that looks like a delimiter.
    """
    position = 0
    for part in reader.parts:
        position = raw.find(delimiter, position)
        if part.end == 0:
            part.start = part.end = position  # empty, and the parser reports no data
        if part.end != position:
            raise _malformed("a part does not end at a boundary")
        position += len(delimiter)
    if not reader.ended or raw.find(delimiter, position) >= 0:
        raise _malformed("something follows its last boundary")


class _Reader:
    """Takes the parser's callbacks."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._text = 0
        self._name = b""
        self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._more_value,
            "on_header_end": self._header,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if self.ended or len(self.parts) >= MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self.parts.append(_Part())

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        name, headers = self._name.lower(), self.parts[-1].headers
        if name not in _PART_HEADERS or name in headers:
            raise _malformed("a part has a header that no upload needs")
        headers[name] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        part = self.parts[-1]
        part.name, part.is_file = _disposition(part)

    def _data(self, data: bytes, start: int, end: int) -> None:  # noqa: ARG002 - not copied
        part = self.parts[-1]
        if part.end == 0:
            part.start = start
        elif part.end != start:
            raise _malformed("it cannot be parsed")
        part.end = end
        if not part.is_file:
            self._text += end - start
            if self._text > MAX_FIELDS:
                raise InvalidRequest(
                    f"the fields of the form are longer than {MAX_FIELDS} bytes", status=413
                )

    def _end(self) -> None:
        self.ended = True


def _disposition(part: _Part) -> tuple[str, bool]:
    """The part's name, and whether it is a file."""
    value = part.headers.get(b"content-disposition", b"")
    kind, semicolon, rest = value.partition(b";")
    if kind.strip().lower() != b"form-data":
        raise _malformed("a part has no name")
    given: dict[bytes, bytes] = {}
    position, parameters = 0, semicolon + rest
    while position < len(parameters):
        found = _PARAMETER.match(parameters, position)
        if found is None or found[1].lower() in given:
            raise _malformed("a part's disposition is not that of an upload")
        given[found[1].lower()] = found[2] if found[2] is not None else found[3]
        position = found.end()
    name = given.get(b"name", b"")
    # Percent signs and what is not ASCII are read differently by different parsers.
    if not name or not name.isascii() or b"%" in name or len(name) > 128:
        raise _malformed("a part has no usable name")
    return name.decode("ascii"), b"filename" in given or b"filename*" in given


def _malformed(why: str) -> InvalidRequest:
    return InvalidRequest(f"the form is malformed: {why}")
