"""When keys were backed up, and when a backup was last proven: `<store>.history.json`.

Nothing here is secret. It is a note to oneself: whoever can write it can lie in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from confide.client.keystore.files import read_private, write_over
from confide.errors import KeystoreError
from confide.wire.strict_json import MalformedJSON, canonical, object_of

__all__ = ["MAX_ENTRIES", "last", "note", "path_for"]

MAX_ENTRIES: Final = 100


def path_for(store: Path) -> Path:
    """The history beside a store."""
    return store.with_name(f"{store.name}.history.json")


def note(
    store: Path,
    what: str,
    *,
    now: float,
    file: Path,
    data: bytes,
    keys: Sequence[str],
    **details: object,
) -> None:
    """Add an entry and forget the oldest above 100.

    Args:
        store: The key store's file.
        what: "backup", "drill", "restore" or "shares".
        now: Unix seconds.
        file: The file it was about; only its name is kept.
        data: That file's bytes, kept as SHA-256.
        keys: Fingerprints it was about.
        details: More that is not secret.

    Raises:
        KeystoreError: It cannot be written.
    """
    entry = {
        "at": int(now),
        "what": what,
        "file": file.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "keys": list(keys),
        **details,
    }
    entries = [*_entries(store), entry][-MAX_ENTRIES:]
    write_over(path_for(store), canonical({"v": 1, "entries": entries}) + b"\n")


def last(store: Path, what: str) -> dict[str, Any] | None:
    """Return the newest entry of a kind, or None."""
    return next((entry for entry in reversed(_entries(store)) if entry["what"] == what), None)


def _entries(store: Path) -> list[dict[str, Any]]:
    """An unreadable history is an empty one: it must not stand between anyone and a backup."""
    try:
        members = object_of(read_private(path_for(store)), max_bytes=1024 * 1024)
    except (KeystoreError, MalformedJSON):
        return []
    entries = members.get("entries")
    if not isinstance(entries, list):
        return []
    return [
        entry
        for entry in entries
        if isinstance(entry, dict) and type(entry.get("at")) is int and "what" in entry
    ]
