"""T-10: whoever has the gateway's database has no usable key and no content."""

from __future__ import annotations

import sqlite3

import httpx2
import pytest

from confide.local import Canary

pytestmark = pytest.mark.e2e


def test_the_database_holds_neither_the_key_nor_its_plain_hash(stack):
    import hashlib

    key = stack.api_key
    for secret in (key, hashlib.sha256(key.encode()).hexdigest()):
        Canary(secret).assert_absent_from(
            *[path for path in stack.home.gateway.iterdir() if path.name.startswith("gateway.db")]
        )
    raw = hashlib.sha256(key.encode()).digest()
    for path in stack.home.gateway.iterdir():
        assert raw not in path.read_bytes()


def test_what_the_database_holds_does_not_open_the_gateway(stack):
    database = sqlite3.connect(f"file:{stack.home.gateway / 'gateway.db'}?mode=ro", uri=True)
    tried = 0
    try:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'"):
            for row in database.execute(f"SELECT * FROM {table} LIMIT 50").fetchall():
                for value in row:
                    text = value.hex() if isinstance(value, bytes) else str(value)
                    if not 8 <= len(text) <= 200 or not text.isascii() or not text.isprintable():
                        continue
                    tried += 1
                    answer = httpx2.get(
                        f"{stack.gateway_url}/v1/key", headers={"authorization": f"Bearer {text}"}
                    )
                    assert answer.status_code == 401
    finally:
        database.close()
    assert tried > 3


def test_the_pepper_lies_outside_the_database(stack):
    pepper = (stack.home.gateway / "pepper").read_bytes()
    assert len(pepper) >= 32
    for path in stack.home.gateway.iterdir():
        if path.name.startswith("gateway.db"):
            assert pepper not in path.read_bytes()
            assert pepper.hex().encode() not in path.read_bytes()
