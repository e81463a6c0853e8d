"""Open the database file, and refuse a schema this version does not know.

A gateway serves only on exactly the schema it was written for. An older one is brought up by
`confide gateway migrate`; a newer or half-made one is refused, because writing into it could
lose usage rows without anyone noticing.
"""

from __future__ import annotations

import os
import sqlite3
from enum import Enum
from pathlib import Path
from typing import Final

from confide.errors import ConfigError

__all__ = ["COLUMNS", "REVISION", "SchemaState", "connect", "inspect", "require_current"]

#: The Alembic revision this version serves on.
REVISION: Final = "0003"

#: Every revision this version knows how to upgrade from.
_KNOWN: Final = ("0001", "0002", REVISION)

#: Table to its columns. Equal to `confide.gateway.tables`, without importing SQLAlchemy at
#: start: it would double the memory of a gateway that is already migrated.
COLUMNS: Final[dict[str, frozenset[str]]] = {
    "revisions": frozenset({"name", "value"}),
    "domains": frozenset({"id", "models", "operations", "usage", "created_at"}),
    "api_keys": frozenset(
        {
            "id", "domain", "digest", "tail", "label", "created_at", "expires_at", "revoked_at",
            "last_used_on", "requests_per_minute", "burst", "max_streams",
        }
    ),
    "enclaves": frozenset({"url", "added_at"}),
    "requests": frozenset(
        {
            "request_id", "domain", "key_id", "enclave", "started_at", "duration_ms", "bytes_up",
            "bytes_down", "status", "outcome",
        }
    ),
    "usage_statements": frozenset(
        {
            "boot_id", "seq", "request_id", "domain", "key_id", "started_at", "statement",
            "signature",
        }
    ),
    "chains": frozenset({"boot_id", "enclave", "usage_key", "through", "head", "problem"}),
    "usage_daily": frozenset(
        {
            "day", "domain", "key_id", "requests", "bytes_up", "bytes_down", "statements",
            "prompt_tokens", "completion_tokens",
        }
    ),
}  # fmt: skip


class SchemaState(Enum):
    """What a database file holds."""

    FRESH = "fresh"  # no file, or no table in it
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    BROKEN = "broken"  # the revision says one thing, the tables another


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database in autocommit mode, for explicit transactions.

    Args:
        path: The file; made with mode 0600 if it does not exist and `read_only` is false.
        read_only: Open without the right to change anything.

    Raises:
        ConfigError: The file or its directory cannot be used.
    """
    if not read_only and not path.exists():
        _make(path)
    mode = "ro" if read_only else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5,
        )
        connection.execute("PRAGMA synchronous=NORMAL")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error
    return connection


def inspect(path: Path) -> SchemaState:
    """Say what the file holds, without changing it.

    Raises:
        ConfigError: It cannot be read or is not a database.
    """
    try:
        if not path.exists() or path.stat().st_size == 0:
            return SchemaState.FRESH
    except OSError as error:
        raise _unusable(path, error.strerror or "unreadable") from error
    connection = connect(path, read_only=True)
    try:
        return _state(connection)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, str(error)) from error
    finally:
        connection.close()


def require_current(path: Path) -> None:
    """Refuse to serve on any other schema than `REVISION`.

    Raises:
        ConfigError: The schema is older, newer or half-made.
    """
    state = inspect(path)
    if state is SchemaState.CURRENT:
        return
    if state in (SchemaState.OLDER, SchemaState.FRESH):
        raise ConfigError(
            f"{path} has an older schema than this version needs",
            hint="confide gateway migrate",
        )
    if state is SchemaState.NEWER:
        raise ConfigError(
            f"{path} was written by a newer version of confide",
            hint="install that version, or restore the backup beside the file",
        )
    raise ConfigError(
        f"{path} holds a half-made schema",
        hint="restore the backup beside the file, then: confide gateway migrate",
    )


def _state(connection: sqlite3.Connection) -> SchemaState:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
    tables = {row[0] for row in rows}
    if not tables:
        return SchemaState.FRESH
    if "alembic_version" not in tables:
        return SchemaState.BROKEN
    versions = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
    if len(versions) != 1:
        return SchemaState.BROKEN
    if versions[0] not in _KNOWN:
        return SchemaState.NEWER
    if versions[0] != REVISION:
        return SchemaState.OLDER
    return SchemaState.CURRENT if _complete(connection) else SchemaState.BROKEN


def _complete(connection: sqlite3.Connection) -> bool:
    for table, columns in COLUMNS.items():
        found = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
        if not columns <= found:
            return False
    return True


def _make(path: Path) -> None:
    # 0600 from the first byte: the file holds who used what, and when.
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise _unusable(path, error.strerror or "unwritable") from error


def _unusable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"cannot use the database {path}: {reason}",
        hint="set [gateway] database to a file in a directory that this user can write",
    )
