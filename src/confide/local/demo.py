"""One prompt through the running stack, and beside it what the gateway saw.

The left side is what this machine reads. The right side is taken from the gateway
itself: its log line and its ledger row of this request, and a search of everything it
wrote for the prompt and the answer.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2

from confide.local.canary import Canary, process_memory
from confide.local.stack import Stack

__all__ = ["DEMO_PROMPT", "run_demo"]

DEMO_PROMPT = "Who can read my data?"


def _deltas(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise httpx2.HTTPError(str(event["error"].get("message")))
        for choice in event.get("choices", []):
            yield choice.get("delta", {}).get("content") or ""


def _ask(stack: Stack, model: str, write: Callable[[str], None]) -> tuple[str, str | None]:
    """Stream one answer; return it and the gateway's request id."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": DEMO_PROMPT}]}
    parts = []
    with httpx2.stream(
        "POST", f"{stack.proxy_url}/v1/chat/completions", json=body, timeout=120
    ) as answer:
        if answer.status_code != 200:
            raise httpx2.HTTPError(answer.read().decode(errors="replace"))
        for text in _deltas(answer.iter_lines()):
            write(text)
            parts.append(text)
        return "".join(parts), answer.headers.get("x-confide-request-id")


def _ledger_rows(database: Path, request_id: str | None) -> list[dict[str, object]]:
    """Every row of the gateway's ledger that mentions the request."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows: list[dict[str, object]] = []
        for (table,) in names:
            columns = [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
            if "request_id" in columns:
                found = connection.execute(
                    f"SELECT * FROM {table} WHERE request_id = ?",  # noqa: S608 - names from sqlite_master
                    (request_id,),
                )
                rows += [{"table": table, **dict(row)} for row in found]
        return rows
    finally:
        connection.close()


def _log_lines(log: Path, request_id: str | None) -> list[str]:
    if request_id is None:
        return []
    return [line for line in log.read_text().splitlines() if request_id in line]


def run_demo(stack: Stack, model: str, write: Callable[[str], None]) -> None:
    """Send the demo prompt and print both sides.

    Args:
        stack: A started stack.
        model: Model to ask.
        write: Receives text as it arrives, without added line ends.

    Raises:
        httpx2.HTTPError: The proxy answered with an error.
    """
    write(f"\nYou asked          {DEMO_PROMPT}\nThe model answers  ")
    answer, request_id = _ask(stack, model, write)
    write("\n\nWhat the gateway saw of it\n")
    database = stack.home.gateway / "gateway.db"
    deadline = time.monotonic() + 5
    rows = _ledger_rows(database, request_id)
    while len(rows) < 2 and time.monotonic() < deadline:  # the statement follows the answer
        time.sleep(0.1)
        rows = _ledger_rows(database, request_id)
    for line in _log_lines(stack.home.log("gateway"), request_id):
        write(f"  log     {line}\n")
    for row in rows:
        write(f"  ledger  {json.dumps(row, default=repr)}\n")
    gateway = stack.children["gateway"].process.pid
    for label, text in (("prompt", DEMO_PROMPT), ("answer", answer.strip())):
        canary = Canary(text)
        files = [stack.home.log("gateway"), *sorted(stack.home.gateway.rglob("*"))]
        written = canary.found_in(path.read_bytes() for path in files if path.is_file())
        held = canary.found_in(process_memory(gateway))
        write(f"  {label} found in its files: {'YES' if written else 'no'}; ")
        write(f"in its memory: {'YES' if held else 'no'}\n")
