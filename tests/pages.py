"""The programs that a page of the documentation shows, as files that can be run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confide.local.readiness import free_port

ROOT = Path(__file__).resolve().parents[1]
STARTS_WITHIN_S = 30.0


def program(page: str, name: str) -> str:
    """Return the Python block of `page` whose docstring begins with the file name `name`."""
    text = (ROOT / "docs" / page).read_text()
    (found,) = re.findall(rf'^```python\n("""{re.escape(name)}: .*?)^```', text, re.M | re.S)
    return found


@dataclass
class Served:
    """A program under uvicorn in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def served(
    folder: Path, source: str, *, port: int | None = None, **environment: str
) -> Iterator[Served]:
    """Run a program's `app` under uvicorn until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.py").write_text(source)
    port, log = port or free_port(), folder / "server.log"
    command = [sys.executable, "-m", "uvicorn", "program:app", "--port", str(port),
               "--lifespan", "on", "--log-level", "debug"]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        _wait(port, process, log)
        yield Served(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)  # between two polls
            continue
        return
    raise AssertionError(log.read_text())


def post(url: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    """POST, and return status and body whatever the status is."""
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
