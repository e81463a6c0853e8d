"""Private files that are whole or absent, and a lock between processes."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from confide.errors import ConfigError

if sys.platform != "win32":
    import fcntl

__all__ = ["locked", "read_at_most", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, mode 0600, in one step: a reader sees the old one or the new one.

    Raises:
        ConfigError: It cannot be written; the old one is unchanged.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def read_at_most(path: Path, limit: int) -> bytes | None:
    """Read a file of at most `limit` bytes; None if it is absent, longer, or unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError:
        return None
    return content if len(content) <= limit else None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a directory, which is made with mode 0700 if it is missing.

    Waits for other processes and threads; each holds it for a few file operations.

    Raises:
        ConfigError: The directory is not writable.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write {path}: {error.strerror}",
        hint=f"make {path.parent} a directory that this user may write",
    )
