"""Bring the database to the schema of this version: all of it, or nothing.

The upgrade runs in one transaction. A database that already holds something is copied first,
to `<file>.before-<revision>`, with SQLite's own backup call, which is safe while a gateway
is writing.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from confide.errors import ConfigError
from confide.gateway.schema import REVISION, SchemaState, connect, inspect, require_current

__all__ = ["head", "migrate"]


def head() -> str:
    """Return the newest revision that the package carries."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def migrate(path: Path, *, revision: str = "head") -> Path | None:
    """Upgrade the database, making it if it is not there.

    Args:
        path: The database file.
        revision: Where to stop; only tests stop early.

    Returns:
        The backup that was made, or None if there was nothing to lose or nothing to do.

    Raises:
        ConfigError: The schema is newer or half-made, or the upgrade failed; the database
            is then as it was.
    """
    state = inspect(path)
    if state is SchemaState.CURRENT:
        return None
    if state not in (SchemaState.FRESH, SchemaState.OLDER):
        require_current(path)
    connect(path).close()  # makes the file with mode 0600 and switches it to WAL
    backup = _back_up(path) if state is SchemaState.OLDER else None
    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=NullPool)
    # Without this the driver would commit before every CREATE TABLE.
    event.listen(engine, "begin", lambda c: _begin(c))
    try:
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except (DatabaseError, sqlite3.Error) as error:
        raise ConfigError(
            f"the database {path} could not be upgraded and is as it was: {_reason(error)}",
            hint=f"a copy from before is {backup}" if backup else None,
        ) from error
    finally:
        engine.dispose()
    return backup


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "confide.gateway:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _back_up(path: Path) -> Path:
    target = path.with_name(f"{path.name}.before-{REVISION}")
    partial = path.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with closing(connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"cannot copy {path} before the upgrade: {error}") from error
    partial.replace(target)
    return target
