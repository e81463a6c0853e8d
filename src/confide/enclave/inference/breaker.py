"""Stop asking an engine that keeps failing, and try again after a while.

Closed: requests pass. After `threshold` failures in a row it opens: requests are turned away
at once. After `reset_after_s` one single trial is let through (half-open); its success closes
the breaker, its failure opens it again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

__all__ = ["Breaker", "BreakerState"]


class BreakerState(StrEnum):
    """What a breaker does with the next request."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Circuit breaker of one backend.

    Args:
        monotonic: Seconds that never jump.
        threshold: Failures in a row that open it.
        reset_after_s: Seconds until a trial.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        threshold: int = 3,
        reset_after_s: float = 10.0,
    ) -> None:
        self._monotonic = monotonic
        self._threshold = threshold
        self._reset_after_s = reset_after_s
        self._failures = 0
        self._opened_at: float | None = None
        self._on_trial = False

    @property
    def state(self) -> BreakerState:
        """The state now."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        if self._monotonic() - self._opened_at < self._reset_after_s:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    def admit(self) -> bool:
        """Ask to pass. Each True must be followed by `succeeded`, `failed` or `released`."""
        state = self.state
        if state is BreakerState.CLOSED:
            return True
        if state is BreakerState.OPEN or self._on_trial:
            return False
        self._on_trial = True
        return True

    def succeeded(self) -> None:
        """The engine answered."""
        self._failures = 0
        self._opened_at = None
        self._on_trial = False

    def failed(self) -> None:
        """The engine is at fault."""
        self._failures += 1
        if self._failures >= self._threshold:  # true of every failed trial
            self._opened_at = self._monotonic()
        self._on_trial = False

    def released(self) -> None:
        """The request ended without telling anything about the engine."""
        self._on_trial = False
