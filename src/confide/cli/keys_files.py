"""Files that `confide keys` reads and writes for people: backups, identities, shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.errors import KeystoreError

if TYPE_CHECKING:
    from confide.sealing.age import HybridIdentity, Recipient, X25519Identity

__all__ = ["create", "identities", "read", "read_text", "recipients", "short"]


def recipients(texts: Sequence[str], files: Sequence[Path]) -> list[Recipient]:
    """Read recipients from the command line and from files, each once.

    Raises:
        AgeFileError: One of them is none.
    """
    from confide.sealing.age import parse_recipient

    lines = [line.strip() for file in files for line in read_text(file).splitlines()]
    named = [*texts, *(line for line in lines if line and not line.startswith("#"))]
    return list(dict.fromkeys(parse_recipient(text) for text in named))


def identities(files: Sequence[Path]) -> list[HybridIdentity | X25519Identity]:
    """Read identity files.

    Raises:
        AgeFileError: One of them is none. It is not quoted.
    """
    from confide.sealing.age import parse_identities

    if not files:
        raise click.UsageError("give the identity that opens the backup: --identity FILE")
    return [identity for file in files for identity in parse_identities(read_text(file))]


def short(recipient: str) -> str:
    """Enough of a recipient to recognise it; the whole one has 1,959 characters."""
    return f"{recipient[:12]}...{recipient[-8:]}"


def read(path: Path) -> bytes:
    """Read a file of at most the length that age files may have, and one byte.

    Raises:
        KeystoreError: It cannot be read.
    """
    from confide.sealing.age import MAX_FILE

    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)
    except OSError as error:
        raise KeystoreError(f"cannot read {path}: {error.strerror}") from error


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        KeystoreError: It cannot be read, or is not UTF-8.
    """
    try:
        return read(path).decode()
    except UnicodeDecodeError:
        raise KeystoreError(f"{path} is not text") from None


def create(path: Path, content: bytes) -> None:
    """Write a new private file and read it back.

    Raises:
        KeystoreError: It exists, cannot be written, or does not hold what was written.
    """
    from confide.client.keystore.files import write_new

    try:
        write_new(path, content)
    except FileExistsError:
        raise KeystoreError(f"{path} exists; it was not changed") from None
    if read(path) != content:
        raise KeystoreError(f"{path} does not hold what was written to it")
