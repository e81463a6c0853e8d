"""Start, watch and stop child processes, in order and without leftovers.

Each child is the leader of its own session, so a Ctrl-C at the terminal reaches only the
supervisor, which stops the rooms in the order that lets open streams finish. A child
holds the read end of a pipe; when the supervisor dies, however it dies, the pipe closes
and the child stops itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from confide.errors import ConfigError

__all__ = ["Child", "stop_in_order"]

_POLL_S = 0.02


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass
class Child:
    """One running room.

    Attributes:
        name: "proxy", "gateway" or "enclave".
        process: The process; its pid is `process.pid`.
        log: Where its output goes, after what earlier runs left there.
        log_from: Byte of the log at which this run begins.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_from: int = 0

    @classmethod
    def start(cls, name: str, arguments: Sequence[str], log: Path) -> Child:
        """Start `python -m confide.local ARGUMENTS`, output appended to `log`."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CONFIDE_")}
        with open(log, "ab", opener=_private) as output:
            log_from = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "confide.local", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )
        return cls(name, process, log, log_from)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until the room answers.

        Args:
            ready: Asked every 20 ms.
            timeout_s: Seconds to wait.

        Raises:
            ConfigError: The room ended or did not get ready; its last words are shown.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.alive:
                raise ConfigError(
                    self.last_words() or f"the {self.name} ended with {self.process.returncode}",
                    hint=f"its log: {self.log}",
                )
            if ready():
                return
            time.sleep(_POLL_S)
        raise ConfigError(
            f"the {self.name} was not ready within {timeout_s:.0f} s", hint=f"its log: {self.log}"
        )

    def last_words(self) -> str:
        """The last `confide: error:` line of this run, without the prefix."""
        prefix = "confide: error: "
        try:
            with self.log.open("rb") as log:
                log.seek(self.log_from)
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        errors = [line for line in lines[-50:] if line.startswith(prefix)]
        return errors[-1].removeprefix(prefix) if errors else ""

    def terminate(self) -> None:
        """Ask it to stop: finish open streams, refuse new work."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)

    def join(self, *, timeout_s: float) -> bool:
        """Wait for its end; True if it ended in time."""
        try:
            self.process.wait(timeout=max(timeout_s, 0))
        except subprocess.TimeoutExpired:
            return False
        self._close()
        return True

    def kill(self) -> None:
        """End it and everything it started, now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()


def stop_in_order(children: Sequence[Child], *, within_s: float) -> list[str]:
    """Stop rooms one after the other, first to last, each allowed to drain.

    Args:
        children: Order of stopping: the room nearest the user first.
        within_s: Seconds for all of them; whoever is left is killed.

    Returns:
        Names of those that had to be killed.
    """
    deadline = time.monotonic() + within_s
    killed = []
    for position, child in enumerate(children):
        child.terminate()
        # The rooms behind this one need a moment as well.
        reserve = 0.3 * (len(children) - 1 - position)
        if not child.join(timeout_s=deadline - reserve - time.monotonic()):
            killed.append(child.name)
            child.kill()
    return killed
