"""Keep a task going that nobody waits for: a defect is logged, counted and survived.

A gateway whose watch has died in silence serves revoked keys, so the work starts again after
a short pause that doubles while it keeps failing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from confide.telemetry.logs import event

__all__ = ["tend"]

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


async def tend(
    name: str, work: Callable[[], Awaitable[None]], on_failure: Callable[[str], None]
) -> None:
    """Run the work until it returns or is cancelled; begin again when it fails.

    Args:
        name: Of the work, for the log and the count.
        work: Makes one run.
        on_failure: Told the name after each failure.
    """
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE_S
    while True:
        started = loop.time()
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - the top level of a task that nobody awaits
            event("task-failed", level="error", step=name, error=type(error).__name__)
            on_failure(name)
        if loop.time() - started > _LONGEST_PAUSE_S:
            pause = _FIRST_PAUSE_S
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
