"""Read members of a client's JSON and say which one is wrong, without repeating it.

A message names the place of a field, such as ``messages.2.content``, and never its value:
what stands in a request is content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from confide.errors import InvalidRequest

__all__ = ["Fields", "at", "kind_of", "member_list", "member_object", "member_text", "read_object"]

Fields = Mapping[str, Any]
"""An object of the client's JSON."""

_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def at(place: str, what: str) -> InvalidRequest:
    """A refusal that names a place and says what is wrong with it."""
    return InvalidRequest(f"{place}: {what}", param=place)


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a request body.

    Raises:
        InvalidRequest: It is not one JSON object, or names a field twice.
    """
    try:
        parsed = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The cause would quote the body.
        raise InvalidRequest("the body is not a JSON object without repeated names") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("the body is not a JSON object")
    return parsed


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> object:
    raise ValueError  # NaN and Infinity are Python's, not JSON's


def member_text(fields: Fields, name: str, place: str) -> str:
    """A string that must be there and not be empty.

    Raises:
        InvalidRequest: It is not.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise at(f"{place}{name}", "a non-empty string is required")
    return value


def member_object(value: object, place: str) -> Fields:
    """An object.

    Raises:
        InvalidRequest: It is not one.
    """
    if not isinstance(value, Mapping):
        raise at(place, "an object is required")
    return value


def member_list(value: object, place: str) -> list[Any]:
    """A list.

    Raises:
        InvalidRequest: It is not one.
    """
    if not isinstance(value, list):
        raise at(place, "a list is required")
    return value


def kind_of(fields: Fields) -> str:
    """The `type` of a block if it looks like a type's name, otherwise "unknown"."""
    kind = fields.get("type")
    return kind if isinstance(kind, str) and _KIND.fullmatch(kind) else "unknown"
