"""Read values of a vector and compare them."""

from __future__ import annotations

from typing import Any

__all__ = ["Mismatch", "NotImplementedHere", "equal", "hex_bytes", "integer"]


class Mismatch(Exception):
    """A computed value is not the one in the file, or the file lacks one."""


class NotImplementedHere(Exception):
    """The product has no code for this case."""


def hex_bytes(entry: Any, name: str) -> bytes:
    """Return a member given in hex.

    Raises:
        Mismatch: Missing, or not hex.
    """
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise Mismatch(f"{name} is missing")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise Mismatch(f"{name} is not hex") from None


def integer(entry: Any, name: str) -> int:
    """Return a member that is an integer.

    Raises:
        Mismatch: Missing, or another type.
    """
    value = entry.get(name) if isinstance(entry, dict) else None
    if type(value) is not int:
        raise Mismatch(f"{name} is not an integer")
    return value


def equal(what: str, computed: object, expected: object) -> None:
    """Compare.

    Raises:
        Mismatch: The values differ.
    """
    if computed != expected:
        raise Mismatch(f"{what} differs")
