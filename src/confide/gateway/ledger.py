"""Write usage to the database from one thread, whole or not at all.

The event loop appends rows to a queue and never waits for the disk. The writer commits a
batch every 200 ms or 500 rows: the rows, the daily sums and the position in each enclave's
chain in one transaction, so that a crash leaves no sum without its rows. If the database
refuses (a full disk, a lock), the batch stays in the queue and is tried again; when the queue
is full, `full` is true and the gateway stops admitting instead of serving unmetered.

A crash loses at most the last 200 ms of the gateway's own rows. It loses no signed statement:
those are acknowledged to the enclave only after the commit.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple, TypeAlias

from confide.gateway.schema import connect
from confide.telemetry.logs import event

__all__ = [
    "ChainRow",
    "KeyUsed",
    "Ledger",
    "RequestRow",
    "StatementBatch",
    "StatementRow",
    "day_of",
]

_BATCH: Final = 500
_INTERVAL_S: Final = 0.2
_RETRY_S: Final = 0.5
_DAY: Final = 86400


def day_of(seconds: float) -> int:
    """Return Unix midnight UTC of that day."""
    return int(seconds) // _DAY * _DAY


class RequestRow(NamedTuple):
    """What the gateway saw of one sealed request, in the order of the table's columns."""

    request_id: str
    domain: str
    key_id: str
    enclave: str
    started_at: int
    duration_ms: int
    bytes_up: int
    bytes_down: int
    status: int
    outcome: str


@dataclass(frozen=True, slots=True)
class KeyUsed:
    """A key was used on a day (Unix midnight UTC)."""

    key_id: str
    day: int


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One verified statement, byte for byte, with the fields that are summed."""

    boot_id: str
    seq: int
    request_id: str
    domain: str
    key_id: str
    started_at: int
    prompt_tokens: int
    completion_tokens: int
    statement: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ChainRow:
    """How far a chain was followed.

    Attributes:
        boot_id: 32 hexadecimal digits.
        enclave: Base URL.
        usage_key: 32-byte Ed25519 public key from the key document.
        through: Sequence number of the last statement that was accepted; 0 for none.
        head: Hexadecimal SHA-256 of that statement; 64 zeros for none.
        problem: Why the next one was refused, or None.
    """

    boot_id: str
    enclave: str
    usage_key: bytes
    through: int
    head: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class StatementBatch:
    """Statements that are committed together with the position in their chain."""

    rows: tuple[StatementRow, ...]
    chain: ChainRow
    on_commit: Callable[[], None]


_Item: TypeAlias = RequestRow | KeyUsed | StatementBatch


class Ledger:
    """The queue and its writer thread."""

    def __init__(
        self,
        path: Path,
        *,
        capacity: int = 50_000,
        open_database: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        """Open the database; nothing runs before `start`.

        Args:
            path: The database, with the current schema.
            capacity: Rows that may wait before `full`.
            open_database: How to open it; tests limit its size here.
        """
        self._connection = open_database(path)
        self._capacity = capacity
        self._queue: deque[_Item] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self.failing = False

    @property
    def full(self) -> bool:
        """Whether the gateway must stop admitting."""
        return len(self._queue) >= self._capacity

    @property
    def pending(self) -> int:
        """How many items wait to be written."""
        return len(self._queue)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def add(self, item: RequestRow | KeyUsed | StatementBatch) -> None:
        """Queue one item. Never blocks and never refuses: whoever admits looks at `full`."""
        self._queue.append(item)
        if len(self._queue) >= _BATCH:
            self._wake.set()

    def stop(self, *, timeout_s: float = 10.0) -> int:
        """Write everything that waits, then end.

        Args:
            timeout_s: How long to keep trying if the database refuses.

        Returns:
            How many items could not be written.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        lost = len(self._queue)
        if lost:
            event("ledger-lost", level="error", rows=lost)
        if not self._thread.is_alive():
            self._connection.close()
        return lost

    def chains(self) -> dict[str, ChainRow]:
        """Read how far each chain was followed, by boot id. Call before `start`."""
        query = "SELECT boot_id, enclave, usage_key, through, head, problem FROM chains"
        return {row[0]: ChainRow(*row) for row in self._connection.execute(query)}

    def _run(self) -> None:
        while True:
            self._wake.wait(_RETRY_S if self.failing else _INTERVAL_S)
            self._wake.clear()
            while self._queue:
                if not self._write(min(len(self._queue), _BATCH)):
                    break
            if self._stopping.is_set():
                if not self._queue:
                    return
                self._wake.wait(0.05)

    def _write(self, count: int) -> bool:
        items = [self._queue[i] for i in range(count)]
        started = monotonic()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            _store(self._connection, items)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            self._failed(error)
            return False
        for item in items:
            self._queue.popleft()
            if isinstance(item, StatementBatch):
                item.on_commit()
        if self.failing:
            self.failing = False
            event("ledger-recovered", rows=count, duration_ms=int((monotonic() - started) * 1000))
        return True

    def _failed(self, error: sqlite3.Error) -> None:
        if not self.failing:
            reason = getattr(error, "sqlite_errorname", None) or type(error).__name__
            event("ledger-failing", level="error", reason=reason, pending=len(self._queue))
        self.failing = True


def _store(connection: sqlite3.Connection, items: Iterable[_Item]) -> None:
    requests = [item for item in items if isinstance(item, RequestRow)]
    sums: Counter[tuple[int, str, str, str]] = Counter()
    _store_requests(connection, requests, sums)
    for item in items:
        if isinstance(item, StatementBatch):
            _store_statements(connection, item, sums)
        elif isinstance(item, KeyUsed):
            connection.execute(
                "UPDATE api_keys SET last_used_on=? WHERE id=?"
                " AND (last_used_on IS NULL OR last_used_on < ?)",
                (item.day, item.key_id, item.day),
            )
    _store_sums(connection, sums)


_COLUMNS: Final = (
    "requests",
    "bytes_up",
    "bytes_down",
    "statements",
    "prompt_tokens",
    "completion_tokens",
)


def _store_requests(
    connection: sqlite3.Connection,
    rows: list[RequestRow],
    sums: Counter[tuple[int, str, str, str]],
) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO requests VALUES (?,?,?,?,?,?,?,?,?,?)",
        rows,
    )
    by_place: dict[tuple[int, str, str], list[RequestRow]] = {}
    for row in rows:
        by_place.setdefault((day_of(row.started_at), row.domain, row.key_id), []).append(row)
    for place, together in by_place.items():
        sums[*place, "requests"] += len(together)
        sums[*place, "bytes_up"] += sum(row.bytes_up for row in together)
        sums[*place, "bytes_down"] += sum(row.bytes_down for row in together)


def _store_statements(
    connection: sqlite3.Connection, batch: StatementBatch, sums: Counter[tuple[int, str, str, str]]
) -> None:
    for row in batch.rows:
        done = connection.execute(
            "INSERT OR IGNORE INTO usage_statements VALUES (?,?,?,?,?,?,?,?)",
            (
                *(row.boot_id, row.seq, row.request_id, row.domain, row.key_id),
                *(row.started_at, row.statement, row.signature),
            ),
        )
        if done.rowcount == 1:  # 0: it was here already; counting it again would bill twice
            place = (day_of(row.started_at), row.domain, row.key_id)
            sums[*place, "statements"] += 1
            sums[*place, "prompt_tokens"] += row.prompt_tokens
            sums[*place, "completion_tokens"] += row.completion_tokens
    chain = batch.chain
    connection.execute(
        "INSERT INTO chains (boot_id, enclave, usage_key, through, head, problem)"
        " VALUES (?,?,?,?,?,?) ON CONFLICT (boot_id) DO UPDATE SET"
        " through=excluded.through, head=excluded.head, problem=excluded.problem",
        (
            *(chain.boot_id, chain.enclave, chain.usage_key, chain.through, chain.head),
            chain.problem,
        ),
    )


def _store_sums(connection: sqlite3.Connection, sums: Counter[tuple[int, str, str, str]]) -> None:
    places = {place[:3] for place in sums}
    updates = ", ".join(f"{name}={name}+excluded.{name}" for name in _COLUMNS)
    connection.executemany(
        f"INSERT INTO usage_daily (day, domain, key_id, {', '.join(_COLUMNS)})"  # noqa: S608  constants
        f" VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (day, domain, key_id) DO UPDATE SET {updates}",
        [(*place, *(sums[*place, name] for name in _COLUMNS)) for place in sorted(places)],
    )
