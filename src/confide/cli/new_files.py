"""Files that commands write for people: whole or absent, and never over another one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from confide.errors import ConfigError

__all__ = ["read_file", "write_new", "write_over"]


def read_file(path: Path, *, limit: int) -> bytes:
    """Read a file of at most `limit` bytes, and one byte more for whoever checks.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def write_new(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Create a file, whole or not at all.

    Raises:
        ConfigError: It exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists and is not replaced", hint="move it away, or name another file"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        raise


def write_over(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old one or the whole new one.

    Raises:
        ConfigError: It cannot be written; the old one is unchanged.
    """
    try:
        mode = path.stat().st_mode & 0o777
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        scratch = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.chmod(mode)
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
