"""Bytes that must not be printed, pickled or compared in variable time.

Wiping is best effort: Python and the libraries below it make copies we cannot
reach. What this does prevent is a secret in a log line, a traceback or a cache.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

__all__ = ["SecretBytes"]


class SecretBytes:
    """A secret byte string. `repr` shows the length only; pickling and copying raise."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self._value = bytearray(value)

    def reveal(self) -> bytes:
        """Return the bytes, for the one call that needs them."""
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrite our copy with zeros and forget it. Best effort."""
        self._value[:] = bytes(len(self._value))
        self._value.clear()

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SecretBytes of {len(self._value)} bytes>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")
