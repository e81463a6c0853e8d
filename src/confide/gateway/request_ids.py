"""Ids of requests: the time to the millisecond, then randomness; 32 hexadecimal digits.

They sort by time, which keeps the database's index small, and say nothing about the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex

__all__ = ["request_id"]


def request_id(now: Callable[[], float]) -> str:
    """Make an id: 12 digits of Unix milliseconds, 20 random ones."""
    return f"{int(now() * 1000):012x}{token_hex(10)}"
