"""End with the process that started this one."""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["stop_when_parent_dies"]


def stop_when_parent_dies() -> None:
    """Send SIGTERM to this process when standard input reaches its end.

    Called by a child at start; its parent keeps the other end of the pipe open, and the
    kernel closes it however the parent ends.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
