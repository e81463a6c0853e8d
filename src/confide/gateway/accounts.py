"""Administer domains, API keys and enclaves in the database.

For commands and set-up, not for the request path. Every change bumps a counter in the same
transaction; a running gateway polls it (`confide.gateway.callers`), so a revoked key stops
working within a second without a restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, create_engine, event, func, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from confide.errors import ConfideError, ConfigError
from confide.gateway import tables
from confide.gateway.addresses import enclave_url
from confide.gateway.schema import connect, require_current
from confide.identity.records import ApiKeyRecord, DomainRecord

__all__ = ["Accounts"]


class Accounts:
    """The administrator's view of one database file."""

    def __init__(self, path: Path) -> None:
        """Open the database.

        Raises:
            ConfigError: It is not there, not usable, or has another schema.
        """
        require_current(path)
        self._engine: Engine = create_engine(
            "sqlite://", creator=lambda: connect(path), poolclass=NullPool
        )
        event.listen(self._engine, "begin", _begin)

    def add_key(self, record: ApiKeyRecord) -> None:
        """Store a new key.

        Raises:
            ConfigError: Its domain does not exist.
        """
        with self._change() as connection:
            self._domain(connection, record.domain)
            names = ApiKeyRecord.__slots__
            values = {name: getattr(record, name) for name in names}
            connection.execute(tables.api_keys.insert().values(values))

    def keys(self) -> list[ApiKeyRecord]:
        """List all keys, oldest first, revoked ones included."""
        query = select(tables.api_keys).order_by(tables.api_keys.c.created_at, tables.api_keys.c.id)
        with self._engine.connect() as connection:
            return [ApiKeyRecord(**row) for row in connection.execute(query).mappings()]

    def revoke_key(self, key_id: str, *, now: float) -> bool:
        """Revoke a key for good.

        Args:
            key_id: Its id, "key_...".
            now: Unix seconds.

        Returns:
            False if it was revoked before.

        Raises:
            ConfideError: There is no such key.
        """
        column = tables.api_keys.c
        with self._change() as connection:
            found = connection.execute(
                select(column.revoked_at).where(column.id == key_id)
            ).one_or_none()
            if found is None:
                raise ConfideError(f"there is no API key {key_id}", hint="confide admin keys list")
            if found.revoked_at is not None:
                return False
            connection.execute(
                update(tables.api_keys).where(column.id == key_id).values(revoked_at=int(now))
            )
        return True

    def put_domain(self, record: DomainRecord) -> None:
        """Store a domain, replacing the one with the same id."""
        values: dict[str, object] = {
            "models": json.dumps(record.models),
            "operations": json.dumps(record.operations),
            "usage": record.usage,
        }
        with self._change() as connection:
            changed = connection.execute(
                update(tables.domains).where(tables.domains.c.id == record.id).values(values)
            )
            if changed.rowcount == 0:
                values |= {"id": record.id, "created_at": record.created_at}
                connection.execute(tables.domains.insert().values(values))

    def domains(self) -> list[DomainRecord]:
        """List all domains."""
        query = select(tables.domains).order_by(tables.domains.c.id)
        with self._engine.connect() as connection:
            return [_domain_record(row) for row in connection.execute(query).mappings()]

    def add_enclave(self, url: str, *, now: float) -> bool:
        """Add an enclave by its base URL.

        Returns:
            False if it was there already.

        Raises:
            ConfigError: Not an http or https base URL.
        """
        url = enclave_url(url)
        with self._change() as connection:
            known = connection.execute(
                select(tables.enclaves.c.url).where(tables.enclaves.c.url == url)
            ).one_or_none()
            if known is None:
                connection.execute(tables.enclaves.insert().values(url=url, added_at=int(now)))
        return known is None

    def remove_enclave(self, url: str) -> bool:
        """Remove an enclave; answers in flight finish.

        Returns:
            False if it was not there.

        Raises:
            ConfigError: Not an http or https base URL.
        """
        url = enclave_url(url)
        with self._change() as connection:
            gone = connection.execute(tables.enclaves.delete().where(tables.enclaves.c.url == url))
        return gone.rowcount > 0

    def enclaves(self) -> list[str]:
        """List base URLs of the enclaves in the database."""
        query = select(tables.enclaves.c.url).order_by(tables.enclaves.c.added_at)
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def usage(self, *, since: int = 0, key_id: str | None = None) -> list[dict[str, Any]]:
        """Sum up usage per day, domain and key.

        Args:
            since: Unix seconds; days that end before are left out.
            key_id: Only this key.

        Returns:
            Rows with day (Unix midnight UTC), domain, key_id, requests, bytes_up,
            bytes_down, statements, prompt_tokens, completion_tokens.
        """
        table = tables.usage_daily
        query = select(table).where(table.c.day > since - 86400)
        if key_id is not None:
            query = query.where(table.c.key_id == key_id)
        query = query.order_by(table.c.day, table.c.domain, table.c.key_id)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def chains(self) -> list[dict[str, Any]]:
        """List how far each enclave's statements were followed, and why no further."""
        column = tables.chains.c
        query = select(column.enclave, column.boot_id, column.through, column.problem)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def without_statement(self) -> int:
        """Count completed requests for which no enclave signed a statement (yet)."""
        request, statement = (
            tables.metadata.tables["requests"],
            tables.metadata.tables["usage_statements"],
        )
        query = (
            select(func.count())
            .select_from(
                request.outerjoin(statement, statement.c.request_id == request.c.request_id)
            )
            .where(request.c.outcome == "complete", statement.c.request_id.is_(None))
        )
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        revisions = tables.revisions
        try:
            with self._engine.begin() as connection:
                yield connection
                connection.execute(
                    update(revisions)
                    .where(revisions.c.name == "accounts")
                    .values(value=revisions.c.value + 1)
                )
        except DatabaseError as error:
            raise ConfigError(
                f"the database refused the change: {error.orig}",
                hint="run it again when the disk has room and no other program locks the file",
            ) from error

    def _domain(self, connection: Connection, domain: str) -> None:
        query = select(tables.domains.c.id).where(tables.domains.c.id == domain)
        if connection.execute(query).one_or_none() is None:
            known = ", ".join(connection.execute(select(tables.domains.c.id)).scalars())
            raise ConfigError(
                f"there is no domain {domain!r}; there is: {known}",
                hint=f"confide admin domains set {domain}",
            )


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _domain_record(row: RowMapping) -> DomainRecord:
    return DomainRecord(
        id=row["id"],
        models=tuple(json.loads(row["models"])),
        operations=tuple(json.loads(row["operations"])),
        usage=row["usage"],
        created_at=row["created_at"],
    )
