"""Recognise callers from memory; follow changes of the database within a second.

All keys are held in a dictionary from digest to caller, so that admission costs one HMAC
and one look-up and never waits for the disk. `refresh` reads one integer; only if it
changed are the keys read again. Limits in use survive a refresh.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confide.gateway.grants import static_claims
from confide.gateway.limits import KeyLimiter
from confide.gateway.schema import connect
from confide.identity.principal import Limits, Principal
from confide.identity.records import ApiKeyRecord, DomainRecord

__all__ = ["Caller", "Callers"]

_KEYS = (
    "SELECT id, domain, digest, tail, label, created_at, expires_at, revoked_at, last_used_on,"
    " requests_per_minute, burst, max_streams FROM api_keys"
)


class Caller:
    """A principal with the state of its limits.

    Attributes:
        principal: Who it is and what it may do. Replaced when the database changes.
        claims: The part of its grants that is always the same.
        limiter: Its rate and streams. Kept.
        used_on: Unix midnight of the last day it was noted as used.
    """

    __slots__ = ("claims", "limiter", "principal", "used_on")

    def __init__(self, principal: Principal, used_on: int) -> None:
        self.principal = principal
        self.claims = static_claims(principal)
        self.limiter = KeyLimiter(principal.limits)
        self.used_on = used_on


class Callers:
    """Digest of an API key to caller."""

    def __init__(
        self,
        path: Path,
        defaults: Limits,
        *,
        on_enclaves: Callable[[tuple[str, ...]], None] = lambda _: None,
    ) -> None:
        """Read everything once.

        Args:
            path: The database.
            defaults: Limits of keys that have none of their own.
            on_enclaves: Told the enclaves of the database whenever they may have changed.

        Raises:
            ConfigError: The database cannot be read.
        """
        self._connection = connect(path, read_only=True)
        self._defaults = defaults
        self._on_enclaves = on_enclaves
        self._by_digest: dict[bytes, Caller] = {}
        self._version = -1
        self.refresh()

    def find(self, digest: bytes) -> Caller | None:
        """Return the caller whose key has this 32-byte digest, expired and revoked included."""
        return self._by_digest.get(digest)

    def __len__(self) -> int:
        return len(self._by_digest)

    def refresh(self) -> bool:
        """Read the keys again if an administrator changed something.

        Returns:
            Whether anything was read.
        """
        try:
            version = self._revision()
            if version == self._version:
                return False
            with self._snapshot():
                version = self._revision()
                domains = self._domains()
                enclaves = tuple(row[0] for row in self._rows("SELECT url FROM enclaves"))
                records = [ApiKeyRecord(*row) for row in self._rows(_KEYS)]
        except sqlite3.OperationalError:
            return False  # locked or being restored: what is in memory still holds
        self._by_digest = {
            record.digest: self._caller(record, domains[record.domain]) for record in records
        }
        self._version = version
        self._on_enclaves(enclaves)
        return True

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _caller(self, record: ApiKeyRecord, domain: DomainRecord) -> Caller:
        principal = Principal.of(record, domain, self._defaults)
        caller = self._by_digest.get(record.digest)
        if caller is None:
            return Caller(principal, record.last_used_on or 0)
        caller.principal = principal
        caller.claims = static_claims(principal)
        caller.limiter.change(principal.limits)
        return caller

    def _domains(self) -> dict[str, DomainRecord]:
        rows = self._rows("SELECT id, models, operations, usage, created_at FROM domains")
        return {
            row[0]: DomainRecord(
                row[0], tuple(json.loads(row[1])), tuple(json.loads(row[2])), row[3], row[4]
            )
            for row in rows
        }

    def _rows(self, query: str) -> list[tuple]:  # type: ignore[type-arg]
        return self._connection.execute(query).fetchall()

    def _revision(self) -> int:
        query = "SELECT value FROM revisions WHERE name='accounts'"
        return int(self._connection.execute(query).fetchone()[0])

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read several tables as they were at one moment, whatever is written meanwhile."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()  # nothing was written
