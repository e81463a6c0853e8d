"""Answer a sealed request once, even when the host turns the clock back.

A request is accepted iff all three hold:

1. its date is above the low-water mark,
2. its date is in the window ``now - past .. now + future``,
3. the SHA-256 of its encapsulated key was not seen before.

Memory is bounded. What leaves it leaves oldest date first, and the low-water mark rises to
the date that left: a forgotten request is refused by rule 1 for the rest of the process's
life, whatever the clock says. A restart makes new keys, so older ciphertext cannot be
opened at all. A full cache therefore refuses some honest requests; it never accepts a
replay.

Dates have the resolution of the HTTP `Date` field, one second. Entries of one second leave
together, because rule 1 refuses all of them once the mark stands on that second. About
165 bytes per entry.

Source: protocol.md section 4.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable

from confide.errors import ReplayError

__all__ = ["ReplayCache"]


class ReplayCache:
    """Remembers encapsulated keys. Belongs to one event loop; no method awaits.

    Args:
        now: Unix time in seconds.
        capacity: Most entries that are remembered.
        past_s: How old a request may be.
        future_s: How far ahead a client's clock may be.
    """

    def __init__(
        self, now: Callable[[], float], *, capacity: int, past_s: int = 120, future_s: int = 60
    ) -> None:
        self._now = now
        self._capacity = capacity
        self._past_s = past_s
        self._future_s = future_s
        self._seen: set[bytes] = set()
        self._by_date: dict[int, list[bytes]] = {}
        self._dates: list[int] = []  # heap of the keys of _by_date
        self._low_water: int | None = None

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def low_water(self) -> int | None:
        """Newest date that was forgotten; nothing dated at or before it is accepted."""
        return self._low_water

    def accept(self, date: int, encapsulated_key: bytes) -> None:
        """Remember one request, or refuse it.

        Args:
            date: The request's own date, unix seconds; it came sealed.
            encapsulated_key: HPKE `enc` of the request.

        Raises:
            ReplayError: Seen before, or dated outside the window or below the mark. The
                three cases look the same.
        """
        now = self._now()
        if self._low_water is not None and date <= self._low_water:
            raise _refusal()
        if not now - self._past_s <= date <= now + self._future_s:
            raise _refusal()
        digest = hashlib.sha256(encapsulated_key).digest()
        if digest in self._seen:
            raise _refusal()
        self._remember(date, digest)
        self._forget(now)

    def accept_undated(self, encapsulated_key: bytes) -> None:
        """Remember an envelope that opened on something without a date, or refuse it.

        It counts as dated now. Once that is out of the window it could be answered again:
        with the same refusal, as there is no request in it.

        Args:
            encapsulated_key: HPKE `enc` of the envelope.

        Raises:
            ReplayError: Seen before, or now is below the mark.
        """
        self.accept(int(self._now()), encapsulated_key)

    def _remember(self, date: int, digest: bytes) -> None:
        self._seen.add(digest)
        if date not in self._by_date:
            self._by_date[date] = []
            heapq.heappush(self._dates, date)
        self._by_date[date].append(digest)

    def _forget(self, now: float) -> None:
        while self._dates and (
            len(self._seen) > self._capacity or self._dates[0] < now - self._past_s
        ):
            date = heapq.heappop(self._dates)
            self._seen.difference_update(self._by_date.pop(date))
            self._low_water = date if self._low_water is None else max(date, self._low_water)


def _refusal() -> ReplayError:
    return ReplayError("the request's date is outside the window, or it was seen before")
