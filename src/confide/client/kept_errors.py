"""Keep an error for later without keeping what it happened to.

An exception holds its traceback, and that holds the frames it passed: with them the
request in clear. An error that is remembered is therefore a copy without a past.
"""

from __future__ import annotations

from typing import TypeVar

from confide.errors import ConfideError

__all__ = ["bare"]

E = TypeVar("E", bound=ConfideError)


def bare(error: E) -> E:
    """Copy an error: class, message, code, hint and attributes, but no traceback or cause."""
    copy = type(error).__new__(type(error))
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    return copy
