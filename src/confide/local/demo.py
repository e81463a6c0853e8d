"""One prompt through the running stack, and beside it what the gateway saw.

The left side is what this machine reads. The right side is taken from the gateway
itself: its log line and its ledger row of this request, and a search of everything it
wrote for the prompt and the answer.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2

from confide.local.canary import Canary, process_memory
from confide.local.stack import Stack

__all__ = ["DEMO_PROMPT", "run_demo"]

DEMO_PROMPT = "Who can read my data?"
_COLUMN = 40


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
        return "".join(parts), answer.headers.get("confide-request-id")


def _seen_by_gateway(database: Path, request_id: str | None) -> dict[str, object]:
    """The gateway's ledger row of the request, joined with the enclave's usage statement."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        row = connection.execute(
            "SELECT * FROM requests WHERE request_id = ?", (request_id,)
        ).fetchone()
        statement = connection.execute(
            "SELECT statement FROM usage_statements WHERE request_id = ?", (request_id,)
        ).fetchone()
    finally:
        connection.close()
    usage = json.loads(statement["statement"]) if statement else {}
    return {**usage, **dict(row)} if row and statement else {}


def _beside(label: str, here: str, there: str) -> str:
    """One row of the table, wrapped; the columns are 40 characters wide."""
    left, right = (textwrap.wrap(text, _COLUMN) or [""] for text in (here, there))
    rows = itertools.zip_longest([label], left, right, fillvalue="")
    return "".join(f"  {a:<9} {b:<{_COLUMN}}  {c}".rstrip() + "\n" for a, b, c in rows)


def _table(model: str, answer: str, seen: dict[str, object]) -> str:
    tokens = f"{seen['prompt_tokens']} + {seen['completion_tokens']}, {seen['precision']}"
    return (
        "\n"
        + _beside("", "ON YOUR MACHINE", "AT THE GATEWAY")
        + _beside("who", "you", f"{seen['key_id']} of domain {seen['domain']}")
        + _beside("asked", DEMO_PROMPT, f"{seen['bytes_up']} sealed bytes")
        + _beside("answered", answer.strip(), f"{seen['bytes_down']} sealed bytes")
        + _beside("model", model, f"class {seen['model_class']!r}")
        + _beside("tokens", "", tokens)
        + _beside("time", "", f"{seen['duration_ms']} ms, {seen['outcome']}")
    )


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
    write("\n\nWhat the gateway saw of it, from its own ledger and log\n")
    database = stack.home.gateway / "gateway.db"
    deadline = time.monotonic() + 5
    while not (seen := _seen_by_gateway(database, request_id)) and time.monotonic() < deadline:
        time.sleep(0.1)  # the enclave's statement follows the answer
    if seen:
        write(_table(model, answer, seen))
    write("\n")
    for line in _log_lines(stack.home.log("gateway"), request_id):
        write(f"  {line}\n")
    gateway = stack.children["gateway"].process.pid
    for label, text in (("question", DEMO_PROMPT), ("answer", answer.strip())):
        canary = Canary(text)
        files = [stack.home.log("gateway"), *sorted(stack.home.gateway.rglob("*"))]
        written = canary.found_in(path.read_bytes() for path in files if path.is_file())
        held = canary.found_in(process_memory(gateway))
        write(f"  your {label} in the gateway's files: {'FOUND' if written else 'not found'}; ")
        write(f"in its memory: {'FOUND' if held else 'not found'}\n")
