"""Read JSON objects strictly: one spelling, no duplicates, a size limit.

Bytes that are hashed or signed must mean one thing to every reader, so a repeated
name, NaN, padding in base64url or an unexpected member is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

__all__ = [
    "MalformedJSON",
    "b64url",
    "b64url_bytes",
    "boolean_free_int",
    "canonical",
    "hex_text",
    "object_of",
    "only_members",
    "text",
]

_B64URL = re.compile(r"[A-Za-z0-9_-]*")
_HEX = re.compile(r"[0-9a-f]*")


class MalformedJSON(ValueError):
    """The text is not what the format says. Callers map it to their own error."""


def object_of(raw: bytes, *, max_bytes: int) -> dict[str, Any]:
    """Parse one JSON object.

    Args:
        raw: UTF-8 text without byte order mark.
        max_bytes: Refused above this length, before parsing.

    Raises:
        MalformedJSON: Too large, not UTF-8, not an object, a repeated name, NaN or
            Infinity, or nested too deeply.
    """
    if len(raw) > max_bytes:
        raise MalformedJSON(f"larger than {max_bytes} bytes")
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, MalformedJSON) else "not valid JSON"
        raise MalformedJSON(reason) from None
    if not isinstance(value, dict):
        raise MalformedJSON("not a JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJSON("a name is repeated")
    return members


def _no_constant(name: str) -> NoReturn:
    raise MalformedJSON(f"{name} is not JSON")


def only_members(
    members: Mapping[str, Any], names: Sequence[str] | frozenset[str], *, where: str = "document"
) -> None:
    """Refuse a missing or an unknown member.

    Raises:
        MalformedJSON: The members are not exactly `names`.
    """
    if set(members) != set(names):
        raise MalformedJSON(f"the {where} has missing or unknown members")


def boolean_free_int(value: object, name: str, *, low: int, high: int) -> int:
    """Return an integer in `low..high`; true and false are not integers here.

    Raises:
        MalformedJSON: Another type, or out of range.
    """
    if type(value) is not int or not low <= value <= high:
        raise MalformedJSON(f"{name} is not an integer in {low}..{high}")
    return value


def text(value: object, name: str, *, max_length: int = 255) -> str:
    """Return a non-empty printable string of at most `max_length` characters.

    Raises:
        MalformedJSON: Another type, empty, too long, or with control characters.
    """
    if not isinstance(value, str) or not 0 < len(value) <= max_length or not value.isprintable():
        raise MalformedJSON(f"{name} is not a short printable string")
    return value


def hex_text(value: object, name: str, *, length: int) -> str:
    """Return lower-case hex of `length` bytes, as text.

    Raises:
        MalformedJSON: Another type, length or alphabet.
    """
    if not isinstance(value, str) or len(value) != 2 * length or not _HEX.fullmatch(value):
        raise MalformedJSON(f"{name} is not {length} bytes of lower-case hex")
    return value


def b64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_bytes(value: object, name: str, *, length: int | None = None) -> bytes:
    """Decode base64url without padding, refusing every other spelling of the same bytes.

    Args:
        value: The JSON value.
        name: Used in the error.
        length: Exact number of bytes, if there is one.

    Raises:
        MalformedJSON: Another type, alphabet, length, padding, or unused bits set.
    """
    if not isinstance(value, str) or not _B64URL.fullmatch(value):
        raise MalformedJSON(f"{name} is not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except binascii.Error:
        raise MalformedJSON(f"{name} is not base64url without padding") from None
    if b64url(data) != value:
        raise MalformedJSON(f"{name} is not canonical base64url")
    if length is not None and len(data) != length:
        raise MalformedJSON(f"{name} is not {length} bytes")
    return data


def canonical(members: Mapping[str, Any]) -> bytes:
    """Write an object with sorted names, no spaces, ASCII only."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
