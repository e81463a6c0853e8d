"""Plant a marker in plaintext and fail if it shows up where it must not.

A canary is searched in the shapes a leak would take: as it is, in JSON escapes, in
base64 at each of its three alignments, in hex, and upper or lower case. Searching is
done on bytes: log files, database files, recorded traffic, and the memory of a running
process read through /proc (Linux).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["Canary", "process_memory"]

_BLOCK = 1 << 20  # bytes read from a process at a time
_OVERLAP = 4096  # bytes of the block before, so that nothing hides on a border
_PAGE = 4096


def process_memory(pid: int) -> Iterator[bytes]:
    """Read every readable mapping of a running process.

    Args:
        pid: Process to read; needs the same user or root, as a debugger would.

    Yields:
        Blocks of at most 1 MiB plus an overlap of 4 KiB with the block before.
    """
    with Path(f"/proc/{pid}/maps").open() as maps:
        ranges = [line.split()[:2] for line in maps]
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for span, permissions in ranges:
            if "r" not in permissions:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            yield from _blocks(memory, start, end)


def _blocks(memory: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    tail = b""
    position = start
    while position < end:
        try:
            memory.seek(position)
            block = memory.read(min(_BLOCK, end - position))
        except (OSError, OverflowError, ValueError):
            block = b""  # device mappings, vsyscall, a page that went meanwhile
        if block:
            yield tail + block
            tail = block[-_OVERLAP:]
            position += len(block)
        else:
            tail = b""
            position += _PAGE


class Canary:
    """A random marker and the shapes in which it could leak."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text if text is not None else f"canary{secrets.token_hex(12)}"
        raw = self.text.encode()
        # Base64 of a longer text contains one of three alignments of the marker; the first
        # and last groups depend on the neighbours and are cut off.
        aligned = [base64.b64encode(b"\0" * pad + raw)[4:-4] for pad in range(3)]
        self.shapes: tuple[bytes, ...] = tuple(
            dict.fromkeys([raw, raw.upper(), raw.hex().encode(), raw[::-1], *aligned])
        )

    def found_in(self, blocks: Iterable[bytes]) -> bytes | None:
        """Search blocks of bytes.

        Args:
            blocks: For example file contents or `process_memory(pid)`.

        Returns:
            The first shape found, or None.
        """
        for block in blocks:
            for shape in self.shapes:
                if shape in block:
                    return shape
        return None

    def assert_absent_from(self, *files: Path) -> None:
        """Fail if any of the files, or any file below a directory, holds the marker.

        Args:
            files: Files or directories. A missing one is a failure: a search that finds
                nothing to search proves nothing.

        Raises:
            AssertionError: The marker was found; the message names the file and the shape.
            FileNotFoundError: A file to search does not exist.
        """
        for named in files:
            if not named.exists():
                raise FileNotFoundError(named)
            for path in sorted(named.rglob("*")) if named.is_dir() else [named]:
                if path.is_file() and (shape := self.found_in([path.read_bytes()])):
                    raise AssertionError(f"the canary is in {path} as {shape!r}")
