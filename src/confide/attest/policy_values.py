"""Read single values of a policy file, so that every table refuses the same nonsense.

A reader takes the value, what it is called in messages, and its bounds. Nothing has a
meaning when it is absent: an absent key is `None`, and no reader accepts `None`. There is
no wildcard: digests are hexadecimal of an exact length, and lists name each entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from confide.errors import ConfigError

__all__ = [
    "invalid",
    "only",
    "read_choice",
    "read_digest",
    "read_each",
    "read_flag",
    "read_hex",
    "read_integer",
    "read_moment",
    "read_table",
    "read_text",
    "read_version",
]

T = TypeVar("T")

_HEX: Final = frozenset("0123456789abcdefABCDEF")
_WILDCARDS: Final = frozenset({"*", "any", "all", "?", ".*"})
_MAX_TEXT: Final = 128
_MAX_ENTRIES: Final = 4096


def invalid(where: str, problem: str, *, hint: str | None = None) -> ConfigError:
    """Make the error of an unusable value.

    Args:
        where: What the value is called, such as "snp.max_vmpl".
        problem: What is wrong, following "is ", such as "not a number".
        hint: One next step, or None.
    """
    return ConfigError(f"appraisal policy: {where} is {problem}", code="policy.invalid", hint=hint)


def only(table: Mapping[str, object], where: str, names: Iterable[str]) -> None:
    """Refuse keys that are not among `names`.

    Raises:
        ConfigError: policy.unknown_key.
    """
    known = sorted(names)
    unknown = sorted(str(name) for name in table.keys() - set(known))
    if unknown:
        raise ConfigError(
            f"appraisal policy: {where} has unknown keys: {', '.join(unknown)}",
            code="policy.unknown_key",
            hint=f"known: {', '.join(known)}",
        )


def read_table(value: object, where: str) -> Mapping[str, object]:
    """Read a table that holds something.

    Raises:
        ConfigError: policy.invalid.
    """
    if not isinstance(value, Mapping) or not value:
        raise invalid(where, "missing, empty or no table")
    return value


def read_each(value: object, where: str, item: Callable[[object, str], T]) -> tuple[T, ...]:
    """Read a list that holds something, each entry with `item`.

    An empty list would have to mean "nothing" or "anything"; it means neither.

    Args:
        value: The list.
        where: What it is called; entry n is called `where`[n].
        item: Reads one entry, given the entry and what it is called.

    Raises:
        ConfigError: policy.invalid: no list, empty, too long, or an entry listed twice.
    """
    if not isinstance(value, list) or not value:
        raise invalid(where, "missing, empty or no list", hint="leave the key out, or list each")
    if len(value) > _MAX_ENTRIES:
        raise invalid(where, f"longer than {_MAX_ENTRIES} entries")
    found = tuple(item(one, f"{where}[{number}]") for number, one in enumerate(value))
    if any(one in found[:number] for number, one in enumerate(found)):
        raise invalid(where, "a list with an entry twice")
    return found


def read_text(value: object, where: str) -> str:
    """Read 1 to 128 printable characters that are no wildcard.

    Raises:
        ConfigError: policy.invalid.
    """
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or not value.isprintable():
        raise invalid(where, "not a short text")
    if value.strip().lower() in _WILDCARDS:
        raise invalid(where, f"{value!r}, which would accept anything")
    return value


def read_choice(value: object, where: str, choices: Iterable[str]) -> str:
    """Read one of a few words.

    Raises:
        ConfigError: policy.invalid.
    """
    listed = tuple(choices)
    if not isinstance(value, str) or value not in listed:
        raise invalid(where, f"not one of {', '.join(listed)}")
    return value


def read_integer(value: object, where: str, *, low: int, high: int) -> int:
    """Read an integer from `low` to `high`; true and 1.0 are none.

    Raises:
        ConfigError: policy.invalid.
    """
    if type(value) is not int or not low <= value <= high:
        raise invalid(where, f"not a number from {low} to {high}")
    return value


def read_flag(value: object, where: str) -> bool:
    """Read true or false.

    Raises:
        ConfigError: policy.invalid.
    """
    if value is not True and value is not False:
        raise invalid(where, "neither true nor false")
    return value


def read_hex(value: object, where: str, *lengths: int) -> bytes:
    """Read hexadecimal of an exact length.

    Args:
        value: The text.
        where: What it is called.
        lengths: Accepted lengths, in bytes.

    Raises:
        ConfigError: policy.invalid.
    """
    wanted = {2 * length for length in lengths}
    if not isinstance(value, str) or len(value) not in wanted or not set(value) <= _HEX:
        listed = " or ".join(str(digits) for digits in sorted(wanted))
        raise invalid(where, f"not {listed} hex digits")
    return bytes.fromhex(value)


def read_digest(value: object, where: str, *lengths: int) -> bytes:
    """Read a digest: `read_hex`, and not the same byte throughout, which a placeholder is.

    Raises:
        ConfigError: policy.invalid.
    """
    digest = read_hex(value, where, *lengths)
    if len(set(digest)) == 1:
        raise invalid(where, "one byte repeated, so it is no digest")
    return digest


def read_version(value: object, where: str) -> tuple[int, int]:
    """Read a version of two numbers, such as "1.55".

    Raises:
        ConfigError: policy.invalid.
    """
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,3}\.\d{1,3}", value, re.ASCII):
        raise invalid(where, 'not a version such as "1.55"')
    major, minor = value.split(".")
    return int(major), int(minor)


def read_moment(value: object, where: str) -> datetime:
    """Read a date and time with a time zone.

    Raises:
        ConfigError: policy.invalid.
    """
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise invalid(where, "not a date and time with a time zone")
    return value
