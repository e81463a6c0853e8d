"""Make the writes of one turn of the event loop together.

A write wakes the process at the other end, and waking an idle core is the dearest part of it.
Writes that follow each other find it awake. So writes wait until the tasks of this turn have
run, and no longer: an idle gateway sends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary, ref

__all__ = ["Outbox", "outbox"]


class Outbox:
    """What is to be written before the next turn."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # a strong one would keep the entry of `_outboxes` for ever
        self._waiting: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Call `write` after the tasks of this turn; one that raises takes no other with it."""
        if not self._waiting:
            self._soon()
        self._waiting.append(write)

    def _soon(self) -> None:
        loop = self._loop()
        if loop is not None:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        done = 0
        try:
            for write in waiting:
                done += 1
                write()
        finally:
            if done < len(waiting):  # the loop reports the error; the rest goes out next turn
                self._waiting = waiting[done:] + self._waiting
                self._soon()


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    """Return the outbox of a loop."""
    found = _outboxes.get(loop)
    if found is None:
        found = _outboxes[loop] = Outbox(loop)
    return found
