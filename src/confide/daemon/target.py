"""One process to signal and to wait for, never another that got its number."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import Final

__all__ = ["POLL_S", "Target"]

POLL_S: Final = 0.02
"""Seconds between two looks at a process."""


class Target:
    """One process, named so that its number cannot come to mean another."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                os.kill(self.pid, number)

    @property
    def gone(self) -> bool:
        """Whether it ended."""
        if self._descriptor is not None:
            ended = bool(select.select([self._descriptor], [], [], 0)[0])
            self._collect()  # after asking, or an end in between would stay uncollected
            return ended
        self._collect()
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def _collect(self) -> None:
        """If this process is the parent, leave no zombie."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def wait(self, until: float) -> bool:
        """Wait for its end until a moment of the monotonic clock; False if it goes on."""
        while not self.gone:
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True

    def close(self) -> None:
        """Stop watching it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
