"""Read the gateway's ledger and check that it adds up."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNED = b"confide/usage/v1\0"


@dataclass
class Ledger:
    """What the database says at one moment.

    Attributes:
        requests: Outcome to number of the gateway's own rows.
        statements: Outcome to number of statements the enclaves signed.
    """

    requests: Counter
    statements: Counter


def read(stack) -> Ledger:
    """Read everything and fail if it is not consistent.

    Consistent: the file is whole, every statement carries a valid signature of its chain's
    key, no chain has a gap or a problem, and the daily sums are the sums of the rows.
    """
    path = stack.home.gateway / "gateway.db"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        database.execute("BEGIN")
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        requests = database.execute("SELECT * FROM requests").fetchall()
        statements = database.execute(
            "SELECT * FROM usage_statements ORDER BY boot_id, seq"
        ).fetchall()
        chains = {row["boot_id"]: row for row in database.execute("SELECT * FROM chains")}
        days = database.execute("SELECT * FROM usage_daily").fetchall()
    finally:
        database.close()
    parsed = check_chains(statements, chains)
    assert sum(day["requests"] for day in days) == len(requests)
    assert sum(day["statements"] for day in days) == len(statements)
    assert sum(day["bytes_up"] for day in days) == sum(row["bytes_up"] for row in requests)
    assert sum(day["bytes_down"] for day in days) == sum(row["bytes_down"] for row in requests)
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(day[name] for day in days) == sum(said[name] for said in parsed)
    return Ledger(
        Counter(row["outcome"] for row in requests), Counter(said["outcome"] for said in parsed)
    )


def statements(stack) -> list[dict]:
    """What the enclaves signed, in the order in which it came."""
    path = stack.home.gateway / "gateway.db"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT statement FROM usage_statements ORDER BY rowid")
        return [json.loads(statement) for (statement,) in rows]
    finally:
        database.close()


def check_chains(statements, chains) -> list[dict]:
    parsed = []
    expected: dict[str, tuple[int, str]] = {}
    for row in statements:
        chain = chains[row["boot_id"]]
        assert chain["problem"] is None
        key = Ed25519PublicKey.from_public_bytes(chain["usage_key"])
        key.verify(row["signature"], SIGNED + row["statement"])
        said = json.loads(row["statement"])
        seq, previous = expected.get(row["boot_id"], (1, "0" * 64))
        assert (said["seq"], said["previous"]) == (seq, previous)
        expected[row["boot_id"]] = (seq + 1, hashlib.sha256(row["statement"]).hexdigest())
        parsed.append(said)
    return parsed


def wait_for(stack, *, requests: dict[str, int], statements: dict[str, int]) -> None:
    """Wait until the ledger holds exactly these rows; statements follow answers."""
    deadline = time.monotonic() + 15
    while True:
        found = read(stack)
        if dict(found.requests) == requests and dict(found.statements) == statements:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def wait_until(holds) -> None:
    """Wait until the ledger is as wished."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
