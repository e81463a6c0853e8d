"""A log file that stays within a size: full files are renamed, the oldest is dropped.

proxy.log  proxy.log.1  proxy.log.2  proxy.log.3
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["KEPT_FILES", "MAX_BYTES", "RotatingFile"]

MAX_BYTES: Final = 10 * 1024 * 1024
"""Size at which a log file is renamed."""

KEPT_FILES: Final = 3
"""Renamed files that are kept beside the current one."""


class RotatingFile:
    """Text goes in, whole lines; files of bounded size come out, mode 0600.

    Standard output and error of this process follow to the new file if they were the old
    one: what a library or the interpreter prints lands in the current file as well.

    Args:
        path: The current file.
        max_bytes: Size above which it is renamed before the next line.
        kept: How many renamed files stay.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._descriptor = _open(path)

    def write(self, text: str) -> int:
        """Append text; rename the file first if it would grow too long."""
        content = text.encode()
        # Asked each time: what goes to standard error makes the same file longer.
        size = os.fstat(self._descriptor).st_size
        if size and size + len(content) > self._max_bytes:
            self._rotate()
        os.write(self._descriptor, content)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close the current file."""
        os.close(self._descriptor)

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            older = _numbered(self.path, number)
            if older.exists():
                os.replace(older, _numbered(self.path, number + 1))
        if self._kept:
            os.replace(self.path, _numbered(self.path, 1))
        else:
            self.path.unlink()
        fresh, old = _open(self.path), os.fstat(self._descriptor)
        for standard in (1, 2):
            with contextlib.suppress(OSError):  # closed
                if os.path.samestat(os.fstat(standard), old):
                    os.dup2(fresh, standard)
        os.close(self._descriptor)
        self._descriptor = fresh


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
