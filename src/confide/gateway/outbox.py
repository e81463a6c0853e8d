"""Make the writes of one turn of the event loop together.

A write wakes the process at the other end, and waking an idle core is the dearest part of it.
Writes that follow each other find it awake. So writes wait until the tasks of this turn have
run, and no longer: an idle gateway sends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

__all__ = ["Outbox", "outbox"]


class Outbox:
    """What is to be written before the next turn."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Call `write` after the tasks of this turn; it must not raise."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(write)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for write in waiting:
            write()


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    """Return the outbox of a loop."""
    found = _outboxes.get(loop)
    if found is None:
        found = _outboxes[loop] = Outbox(loop)
    return found
