"""Read hostile JSON: one meaning per byte string, or an `EvidenceError` with its code.

Two parsers that disagree about one byte string are an attack. So duplicate names,
numbers that are not integers, and base64url with padding or stray bits are refused,
although ordinary parsers take them (RFC 8259 section 4, RFC 7493, RFC 4648 section 3.5).
Values are read by `confide.wire.strict_json`; this module adds sizes and codes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

from confide.errors import EvidenceError
from confide.wire.strict_json import MalformedJSON, b64url_bytes, boolean_free_int, hex_text

__all__ = [
    "exact_members",
    "read_array",
    "read_base64url",
    "read_hex",
    "read_integer",
    "read_list",
    "read_object",
    "read_text",
]

T = TypeVar("T")

_MAX_INTEGER = 2**53 - 1


def _refuse_number(_: str) -> NoReturn:
    raise EvidenceError("a number in the JSON is not an integer", code="envelope.json")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise EvidenceError("a JSON name occurs twice", code="envelope.duplicate_key")
    return members


def read_object(raw: bytes, *, limit: int) -> dict[str, object]:
    """Parse one JSON object.

    Args:
        raw: UTF-8 bytes, untrusted.
        limit: Most bytes accepted, checked before anything is decoded.

    Raises:
        EvidenceError: envelope.size, envelope.json or envelope.duplicate_key.
    """
    parsed = _parse(raw, limit)
    if not isinstance(parsed, dict):
        raise EvidenceError("the JSON is not an object", code="envelope.json")
    return parsed


def read_array(raw: bytes, *, limit: int) -> list[object]:
    """Parse one JSON array; as `read_object`."""
    parsed = _parse(raw, limit)
    if not isinstance(parsed, list):
        raise EvidenceError("the JSON is not an array", code="envelope.json")
    return parsed


def _parse(raw: bytes, limit: int) -> object:
    if len(raw) > limit:
        raise EvidenceError(f"{len(raw)} bytes of JSON; at most {limit}", code="envelope.size")
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError):
        # The cause may quote the input, so it is not chained.
        raise EvidenceError("not JSON", code="envelope.json") from None


def exact_members(
    members: Mapping[str, object], *, required: Iterable[str], optional: Iterable[str] = ()
) -> None:
    """Refuse an object that lacks a required member or has an unknown one."""
    needed = set(required)
    missing = needed - members.keys()
    unknown = members.keys() - needed - set(optional)
    if missing:
        raise EvidenceError(f"missing: {', '.join(sorted(missing))}", code="envelope.json")
    if unknown:
        raise EvidenceError(f"{len(unknown)} unknown members", code="envelope.json")


def read_text(value: object, name: str, *, limit: int) -> str:
    """Return a string of at most `limit` characters, or refuse."""
    if not isinstance(value, str):
        raise EvidenceError(f"{name} is not a string", code="envelope.json")
    if len(value) > limit:
        raise EvidenceError(f"{name} is longer than {limit} characters", code="envelope.size")
    return value


def read_integer(value: object, name: str) -> int:
    """Return an integer from 0 to 2**53 - 1 (RFC 7493 section 2.2), or refuse."""
    try:
        return boolean_free_int(value, name, low=0, high=_MAX_INTEGER)
    except MalformedJSON as error:
        raise EvidenceError(str(error), code="envelope.json") from None


def read_list(
    value: object, name: str, *, limit: int, item: Callable[[object], T]
) -> tuple[T, ...]:
    """Return at most `limit` items, each read by `item`, or refuse."""
    if not isinstance(value, list):
        raise EvidenceError(f"{name} is not a list", code="envelope.json")
    if len(value) > limit:
        raise EvidenceError(f"{name} has more than {limit} items", code="envelope.size")
    return tuple(item(element) for element in value)


def read_hex(value: object, name: str, *, length: int) -> bytes:
    """Return exactly `length` bytes from lower-case hexadecimal, or refuse."""
    try:
        return bytes.fromhex(hex_text(value, name, length=length))
    except MalformedJSON as error:
        raise EvidenceError(str(error), code="envelope.json") from None


def read_base64url(value: object, name: str, *, limit: int, length: int | None = None) -> bytes:
    """Return the bytes of canonical unpadded base64url (RFC 4648 section 5).

    Args:
        value: What the JSON held.
        name: For the message.
        limit: Most decoded bytes accepted, checked before decoding.
        length: Exact number of bytes expected, if it is fixed.

    Raises:
        EvidenceError: envelope.json, envelope.size or envelope.base64.
    """
    text = read_text(value, name, limit=(limit * 4 + 2) // 3)
    try:
        decoded = b64url_bytes(text, name)
    except MalformedJSON as error:
        raise EvidenceError(str(error), code="envelope.base64") from None
    if length is not None and len(decoded) != length:
        raise EvidenceError(f"{name} is {len(decoded)} bytes, not {length}", code="envelope.size")
    return decoded
