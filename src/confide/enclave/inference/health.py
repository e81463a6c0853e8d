"""Probe the backends, eject those that fail, readmit those that recover.

Probes run at fixed times (start + n * interval), so a slow probe does not shift the next
ones. A backend starts as unknown, which counts as healthy: a request may find out first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from confide.enclave.inference.backend import Backend
from confide.telemetry.logs import event

__all__ = ["BackendHealth", "HealthMonitor", "HealthSettings", "HealthState"]


class HealthState(StrEnum):
    """What the probes say."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    EJECTED = "ejected"


@dataclass(frozen=True)
class HealthSettings:
    """When to probe and what to conclude.

    Attributes:
        interval_s: Seconds between the starts of two probes.
        timeout_s: A probe that takes longer failed.
        eject_after: Failed probes in a row that eject a healthy backend. One that has never
            been healthy is ejected by its first failure.
        readmit_after: Good probes in a row that readmit it.
    """

    interval_s: float = 5.0
    timeout_s: float = 3.0
    eject_after: int = 3
    readmit_after: int = 1


@dataclass
class BackendHealth:
    """The state of one backend, for health pages and metrics.

    Attributes:
        state: What the probes say.
        failures: Failed probes in a row.
        successes: Good probes in a row.
        probed_at: Unix time of the last probe, or None.
    """

    state: HealthState = HealthState.UNKNOWN
    failures: int = 0
    successes: int = 0
    probed_at: float | None = None

    @property
    def usable(self) -> bool:
        """Whether requests may be sent."""
        return self.state is not HealthState.EJECTED


class HealthMonitor:
    """Keeps the health of every backend.

    Args:
        backends: By name.
        now: Unix time in seconds, for `probed_at`.
        settings: When and what.
        monotonic: Seconds that never jump.
        sleep: Waits; replaced in tests.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        now: Callable[[], float],
        *,
        settings: HealthSettings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._backends = dict(backends)
        self._now = now
        self._settings = settings or HealthSettings()
        self._monotonic = monotonic
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self.states = {name: BackendHealth() for name in backends}

    def usable(self, name: str) -> bool:
        """Whether requests may be sent to this backend."""
        return self.states[name].usable

    async def start(self) -> None:
        """Probe once, then keep probing in the background."""
        if self._task is None:
            await self.probe_all()
            self._task = asyncio.create_task(self._run(), name="confide-backend-health")

    async def stop(self) -> None:
        """Stop probing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        due = self._monotonic()
        while True:
            due += self._settings.interval_s
            await self._sleep(max(0.0, due - self._monotonic()))
            await self.probe_all()

    async def probe_all(self) -> None:
        """Probe every backend once, all at the same time."""
        await asyncio.gather(*(self._probe(name) for name in self._backends))

    async def _probe(self, name: str) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._backends[name].probe()
        except Exception as error:  # noqa: BLE001  whatever a probe raises, the engine is not well
            self._record(name, error)
        else:
            self._record(name, None)

    def _record(self, name: str, error: Exception | None) -> None:
        health = self.states[name]
        health.probed_at = self._now()
        before = health.state
        if error is None:
            health.failures, health.successes = 0, health.successes + 1
            if before is not HealthState.EJECTED or (
                health.successes >= self._settings.readmit_after
            ):
                health.state = HealthState.HEALTHY
        else:
            health.failures, health.successes = health.failures + 1, 0
            if before is HealthState.UNKNOWN or health.failures >= self._settings.eject_after:
                health.state = HealthState.EJECTED
        if health.state is not before:
            event(
                "backend-health",
                level="warning" if health.state is HealthState.EJECTED else "info",
                backend=name,
                kind=self._backends[name].kind,
                state=health.state.value,
                error=type(error).__name__ if error is not None else None,
            )
