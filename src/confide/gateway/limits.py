"""Limit requests per minute and answers in flight, exactly.

The rate is a generic cell rate algorithm (GCRA, ITU-T I.371): one number per key, the
theoretical arrival time (TAT) of the next request if they came evenly. A request is
admitted if TAT lies at most `burst - 1` intervals ahead. There is no window whose edge could
be used twice, and the time until the next admission is known exactly.

All of it runs on the event loop without an await between looking and taking, so that no
number of concurrent requests is admitted beyond the limit. One process: a second gateway
would have its own numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final

from confide.identity.principal import Limits

__all__ = ["AddressLimiter", "Denied", "KeyLimiter", "Rate", "Reason"]

_MINUTE: Final = 60.0
_ROUNDING: Final = 1e-6  # seconds; sums of intervals are off by less, and clocks tick coarser


class Rate:
    """A rate with a burst. Times are seconds of a monotonic clock."""

    __slots__ = ("_interval", "_tat", "_tolerance")

    def __init__(self, per_minute: float, burst: int) -> None:
        self._tat = 0.0
        self.change(per_minute, burst)

    def change(self, per_minute: float, burst: int) -> None:
        """Use another rate from now on; what was taken stays taken."""
        self._interval = _MINUTE / per_minute
        self._tolerance = (burst - 1) * self._interval

    def wait(self, now: float) -> float:
        """Return seconds until a request would be admitted; 0 if it would be now."""
        wait = self._tat - self._tolerance - now
        return wait if wait > _ROUNDING else 0.0

    def take(self, now: float) -> None:
        """Count one request."""
        self._tat = max(self._tat, now) + self._interval

    def left(self, now: float) -> int:
        """Return how many requests would be admitted right now, one after the other."""
        ahead = max(0.0, self._tat - now)
        return max(0, int((self._tolerance - ahead + _ROUNDING) / self._interval + 1))


class Reason(Enum):
    """Which limit said no."""

    RATE = "rate-limited"
    STREAMS = "too-many-streams"


class Denied:
    """No, and when to come back.

    Attributes:
        reason: Which limit.
        retry_after_s: Seconds, not rounded.
    """

    __slots__ = ("reason", "retry_after_s")

    def __init__(self, reason: Reason, retry_after_s: float) -> None:
        self.reason = reason
        self.retry_after_s = retry_after_s


class KeyLimiter:
    """The limits of one API key."""

    __slots__ = ("_max_streams", "_rate", "streams")

    def __init__(self, limits: Limits) -> None:
        self._rate = Rate(limits.requests_per_minute, limits.burst)
        self._max_streams = limits.max_streams
        self.streams = 0

    def change(self, limits: Limits) -> None:
        """Use other limits from now on; streams in flight stay counted."""
        self._rate.change(limits.requests_per_minute, limits.burst)
        self._max_streams = limits.max_streams

    def admit(self, now: float) -> Denied | None:
        """Take one request and one stream, or nothing at all.

        Args:
            now: Seconds of a monotonic clock.

        Returns:
            None if admitted: call `release` once when the answer ended, however it ended.
        """
        if self.streams >= self._max_streams:
            # Nobody knows when a stream ends; one second keeps a polite client from spinning.
            return Denied(Reason.STREAMS, 1.0)
        wait = self._rate.wait(now)
        if wait > 0:
            return Denied(Reason.RATE, wait)
        self._rate.take(now)
        self.streams += 1
        return None

    def release(self) -> None:
        """Give the stream back."""
        self.streams -= 1

    def left(self, now: float) -> int:
        """Return how many requests would be admitted right now."""
        return self._rate.left(now)


class AddressLimiter:
    """A rate per client address and one for all together, in bounded memory.

    Guards the routes that need no key. The least recently seen address is forgotten first.
    """

    def __init__(self, per_minute: int, total_per_minute: int, *, addresses: int = 4096) -> None:
        self._per_minute = per_minute
        self._total = Rate(total_per_minute, total_per_minute)
        self._addresses = addresses
        self._rates: OrderedDict[str, Rate] = OrderedDict()

    def admit(self, address: str, now: float) -> Denied | None:
        """Take one request from the address's rate and from the total, or from neither."""
        rate = self._rates.get(address)
        if rate is None:
            rate = self._rates[address] = Rate(self._per_minute, self._per_minute)
            if len(self._rates) > self._addresses:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(address)
        wait = max(rate.wait(now), self._total.wait(now))
        if wait > 0:
            return Denied(Reason.RATE, wait)
        rate.take(now)
        self._total.take(now)
        return None

    def __len__(self) -> int:
        return len(self._rates)
