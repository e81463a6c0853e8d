"""Private files that are whole or absent, and a lock for whoever changes one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from confide.errors import KeystoreError

if sys.platform != "win32":
    import fcntl

__all__ = ["MAX_FILE", "locked", "read_private", "write_new", "write_over"]

MAX_FILE: Final = 1024 * 1024
"""Longest key store that is read, in bytes."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def write_new(path: Path, content: bytes) -> None:
    """Create a file, mode 0600, whole or not at all.

    Raises:
        FileExistsError: It exists; it is unchanged.
        KeystoreError: It cannot be written; nothing is left behind.
    """
    _write(path, content, over=False)


def write_over(path: Path, content: bytes) -> None:
    """Replace a file, mode 0600, whole or not at all.

    Raises:
        KeystoreError: It cannot be written; the old one is unchanged.
    """
    _write(path, content, over=True)


def _write(path: Path, content: bytes, *, over: bool) -> None:
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if over:
                os.replace(scratch, path)
            else:
                _rename_new(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise KeystoreError(
            f"cannot write {path}: {error.strerror}",
            hint=f"make {path.parent} a directory that this user may write",
        ) from error
    _flush_directory(path.parent)


def _rename_new(scratch: Path, path: Path) -> None:
    """Give a file its name unless it is taken."""
    try:
        # A link, unlike a rename, fails if someone else created the file meanwhile.
        os.link(scratch, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # USB sticks: claim the name, then put the whole file over the empty one.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(scratch, path)


def _flush_directory(path: Path) -> None:
    """Make a new name survive a power cut, where the system can; the file is there anyway."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_private(path: Path) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        KeystoreError: It cannot be read, is longer than `MAX_FILE`, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise KeystoreError(
            f"there is no key store {path}", hint="confide keys create, or confide keys restore"
        ) from None
    except OSError as error:
        raise KeystoreError(
            f"cannot read {path}: {error.strerror}",
            hint="confide keys restore puts it back from a backup",
        ) from error
    if mode & 0o077 and sys.platform != "win32":
        raise KeystoreError(
            f"{path} may be read by others (mode {mode:04o})", hint=f"chmod 600 {path}"
        )
    if len(content) > MAX_FILE:
        raise KeystoreError(f"{path} is longer than {MAX_FILE} bytes")
    return content


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a key store, so that two changes do not lose one of two new keys.

    Raises:
        KeystoreError: Somebody else holds it, or the directory is not writable.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise KeystoreError(
            f"cannot write beside {path}: {error.strerror}",
            hint=f"make {path.parent} a directory that this user may write",
        ) from error
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise KeystoreError(f"another process is changing {path}") from None
    finally:
        os.close(descriptor)
