"""Ids of requests: the time to the millisecond, then randomness; 32 hexadecimal digits.

They sort by time, which keeps the database's index small, and say nothing about the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from typing import Final

__all__ = ["request_id"]

_BYTES: Final = 10
_AT_ONCE: Final = 128  # one system call for so many ids
_random: list[str] = []


def request_id(now: Callable[[], float]) -> str:
    """Make an id: 12 digits of Unix milliseconds, 20 random ones."""
    if not _random:
        fresh = urandom(_BYTES * _AT_ONCE).hex()
        digits = 2 * _BYTES
        _random.extend(fresh[at : at + digits] for at in range(0, len(fresh), digits))
    return f"{int(now() * 1000):012x}{_random.pop()}"
