"""The PID file: whose process serves, and what it is doing.

    12345
    {"host": "127.0.0.1", "port": 8000, "state": "serving"}

The server holds an advisory lock on the file for as long as it lives, and the kernel
releases the lock however it ends. So a file without a lock is stale, whatever process has
its number now; no time, name or command line is compared. The first line is the pid alone,
as other programs expect it.

`state` is "starting", "serving" or "draining". The last one is written by the event loop when
it obeys a stop signal, which is how a server that finishes its answers is told from one that
does not react.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confide.errors import ConfigError

__all__ = ["DRAINING", "SERVING", "STARTING", "Found", "Presence", "look", "remove_stale"]

STARTING: Final = "starting"
SERVING: Final = "serving"
DRAINING: Final = "draining"

_MAX_FILE: Final = 16 * 1024  # bytes
_BLOCK: Final = 512  # bytes; the length stays the same, so that a reader never sees half a change
_OURS: Final = re.compile(rb"\s*|[0-9]{1,10}\s*(\n\{.*)?", re.DOTALL)
_CLAIM_S: Final = 0.5  # a reader holds the lock for some microseconds
_PAUSE_S: Final = 0.01


@dataclass(frozen=True)
class Found:
    """What a PID file says.

    Attributes:
        pid: Process that wrote it; None if it is empty or being written.
        alive: Whether that process still runs.
        facts: What else it wrote.
    """

    pid: int | None
    alive: bool
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The noted state; "stopped" if no process holds the file."""
        return str(self.facts.get("state", STARTING)) if self.alive else "stopped"


class Presence:
    """The PID file as held by the server. Make one with `claim`."""

    def __init__(self, path: Path, descriptor: int, facts: Mapping[str, object]) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._facts = dict(facts)
        self.note(STARTING)

    @classmethod
    def claim(cls, path: Path, **facts: object) -> Presence:
        """Become the one server of a PID file. A stale file is taken over.

        Args:
            path: The file; its directory is created, private, if it does not exist.
            facts: What `look` shall find, in JSON types.

        Raises:
            ConfigError: Another server holds it, it is no PID file, or it cannot be written.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(path, _locked(path), facts)
        except BlockingIOError:
            raise _held(path) from None
        except OSError as error:
            raise ConfigError(f"cannot write the PID file {path}: {error.strerror}") from error

    def note(self, state: str, **facts: object) -> None:
        """Write the state, and facts that are known only now. Nothing after `ended`."""
        if self._descriptor is None:
            return
        self._facts.update(facts, state=state)
        text = f"{os.getpid()}\n{json.dumps(self._facts, sort_keys=True)}".encode()
        padded = text.ljust(-(-(len(text) + 1) // _BLOCK) * _BLOCK - 1) + b"\n"
        os.pwrite(self._descriptor, padded, 0)
        os.ftruncate(self._descriptor, len(padded))

    def serving(self) -> None:
        """Requests are answered from now on."""
        self.note(SERVING)

    def draining(self) -> None:
        """The stop signal was obeyed; open requests may finish."""
        self.note(DRAINING)

    def ended(self) -> None:
        """Remove the file. Whoever claims the path next gets a new one."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if _same(self._descriptor, self.path):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None


def look(path: Path) -> Found | None:
    """Read a PID file; None if there is none.

    Raises:
        ConfigError: It cannot be read, or is something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read the PID file {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(descriptor, path, alive=True)
        return _read(descriptor, path, alive=False)
    finally:
        os.close(descriptor)


def remove_stale(path: Path) -> bool:
    """Remove a PID file that nobody holds; True if one was removed.

    Raises:
        ConfigError: It cannot be removed, or is something else.
    """
    try:
        with _exclusive(path, os.O_RDWR) as descriptor:
            _read(descriptor, path, alive=False)
            path.unlink()
    except (FileNotFoundError, BlockingIOError):
        return False
    except OSError as error:
        raise ConfigError(f"cannot remove the PID file {path}: {error.strerror}") from error
    return True


def _locked(path: Path) -> int:
    """Open and lock the file that `path` names when the lock is there."""
    deadline = time.monotonic() + _CLAIM_S
    while True:
        try:
            with _exclusive(path, os.O_RDWR | os.O_CREAT) as descriptor:
                _read(descriptor, path, alive=False)
                return os.dup(descriptor)  # the lock lives as long as a copy is open
        except (BlockingIOError, FileNotFoundError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)


@contextmanager
def _exclusive(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have removed the file between opening and locking.
        if not _same(descriptor, path):
            raise FileNotFoundError(path)
        yield descriptor
    finally:
        os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _read(descriptor: int, path: Path, *, alive: bool) -> Found:
    content = os.pread(descriptor, _MAX_FILE + 1, 0)
    if len(content) > _MAX_FILE or not _OURS.fullmatch(content):
        raise ConfigError(
            f"{path} is not a PID file; it was left as it is", hint="choose another --pid-file"
        )
    number, _, rest = content.partition(b"\n")
    try:
        facts = json.loads(rest)
    except ValueError:
        facts = {}
    pid = int(number) if number.strip() else None
    return Found(pid, alive, facts if isinstance(facts, dict) else {})


def _held(path: Path) -> ConfigError:
    found = look(path)
    pid = found.pid if found and found.pid else "unknown"
    return ConfigError(
        f"it already runs (pid {pid}, PID file {path})",
        code="already-running",
        hint="stop it first, or choose another --pid-file and --port",
    )
