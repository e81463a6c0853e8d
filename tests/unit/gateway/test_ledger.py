"""Rows are written whole or kept; a disk that is full stops admission and nothing else."""

import asyncio
import json
import signal
import subprocess
import sys
import time

import pytest
from tests.unit.gateway.doubles import Client, Gateway, get, sealed, until

from confide.gateway import ledger as ledgers
from confide.gateway.ledger import (
    ChainRow,
    KeyUsed,
    Ledger,
    RequestRow,
    StatementBatch,
    StatementRow,
    day_of,
)
from confide.gateway.migrate import migrate
from confide.gateway.schema import connect
from confide.local.readiness import free_port, json_of

ROW = RequestRow(
    "r0", "default", "key_1", "http://e:1", 1_900_000_000, 12, 4096, 100, 200, "complete"
)
CHAIN = ChainRow("ab" * 16, "http://e:1", bytes(32), 1, "00" * 32, None)
STATEMENT = StatementRow(
    "ab" * 16, 1, "r0", "default", "key_1", 1_900_000_000, 16, 32, b"{}", bytes(64)
)


@pytest.fixture
def path(tmp_path):
    migrate(tmp_path / "gateway.db")
    return tmp_path / "gateway.db"


def read(path, query):
    connection = connect(path, read_only=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def rows(count, prefix="r"):
    return [ROW._replace(request_id=f"{prefix}{number}") for number in range(count)]


def test_stopping_writes_everything_that_waits(path):
    ledger = Ledger(path)
    ledger.start()
    for row in rows(1203):
        ledger.add(row)
    assert ledger.stop() == 0
    assert read(path, "SELECT count(*) FROM requests") == [(1203,)]
    assert read(path, "SELECT day, requests, bytes_up, bytes_down FROM usage_daily") == [
        (day_of(1_900_000_000), 1203, 1203 * 4096, 1203 * 100)
    ]


def test_a_row_is_written_without_waiting_for_a_stop(path):
    ledger = Ledger(path)
    ledger.start()
    ledger.add(ROW)
    deadline = time.monotonic() + 5
    while ledger.pending:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert read(path, "SELECT request_id, outcome FROM requests") == [("r0", "complete")]
    ledger.stop()


def test_a_statement_booked_twice_is_counted_once(path):
    committed = []
    ledger = Ledger(path)
    ledger.start()
    for _ in range(2):
        batch = StatementBatch((STATEMENT,), CHAIN, lambda: committed.append(1))
        ledger.add(batch)
    ledger.stop()
    assert committed == [1, 1]
    assert read(path, "SELECT statements, prompt_tokens, completion_tokens FROM usage_daily") == [
        (1, 16, 32)
    ]
    assert read(path, "SELECT boot_id, through, problem FROM chains") == [("ab" * 16, 1, None)]


def test_the_last_day_of_use_only_moves_forward(path):
    connection = connect(path)
    connection.execute(
        "INSERT INTO api_keys (id, domain, digest, tail, label, created_at)"
        " VALUES ('key_1', 'default', x'00', '', '', 0)"
    )
    connection.close()
    ledger = Ledger(path)
    ledger.start()
    for day in (86400 * 3, 86400 * 2):
        ledger.add(KeyUsed("key_1", day))
    ledger.stop()
    assert read(path, "SELECT last_used_on FROM api_keys") == [(86400 * 3,)]


class Disk:
    """A database that may not grow past some pages until it is given room."""

    def __init__(self):
        self.connections = []

    def open(self, path):
        connection = connect(path)
        connection.execute("PRAGMA wal_autocheckpoint=1")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")
        self.connections.append(connection)
        return connection

    def give_room(self):
        for connection in self.connections:
            connection.execute("PRAGMA max_page_count=1000000")


def test_a_full_disk_keeps_every_row_and_recovers_by_itself(path):
    disk = Disk()
    ledger = Ledger(path, capacity=2000, open_database=disk.open)
    ledger.start()
    for row in rows(2000):
        ledger.add(row)
    deadline = time.monotonic() + 5
    while not ledger.failing:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert ledger.full
    written = read(path, "SELECT count(*) FROM requests")[0][0]
    summed = read(path, "SELECT coalesce(sum(requests), 0) FROM usage_daily")[0][0]
    assert written == summed  # never half a batch
    assert written + ledger.pending == 2000
    assert read(path, "PRAGMA integrity_check") == [("ok",)]
    disk.give_room()
    while ledger.pending:
        assert time.monotonic() < deadline + 5
        time.sleep(0.005)
    assert not ledger.failing
    assert not ledger.full
    assert read(path, "SELECT count(*) FROM requests") == [(2000,)]
    assert read(path, "SELECT sum(requests) FROM usage_daily") == [(2000,)]
    ledger.stop()


def test_a_batch_that_fails_half_way_leaves_nothing_behind(path):
    other = connect(path)
    other.execute("ALTER TABLE usage_daily RENAME TO away")  # the sums are written last
    ledger = Ledger(path)
    ledger.start()
    ledger.add(ROW)
    deadline = time.monotonic() + 5
    while not ledger.failing:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert read(path, "SELECT count(*) FROM requests") == [(0,)]
    other.execute("ALTER TABLE away RENAME TO usage_daily")
    other.close()
    assert ledger.stop() == 0
    assert read(path, "SELECT requests FROM usage_daily") == [(1,)]


def test_what_a_full_disk_lost_at_the_end_is_said(path):
    ledger = Ledger(path, open_database=Disk().open)
    ledger.start()
    for row in rows(5000):
        ledger.add(row)
    lost = ledger.stop(timeout_s=0.5)
    assert lost > 0
    assert lost + read(path, "SELECT count(*) FROM requests")[0][0] == 5000


async def test_a_full_ledger_refuses_requests_before_they_are_sent_on(
    tmp_path, enclave, monkeypatch
):
    disk = Disk()
    gateway = Gateway(tmp_path, enclaves=(enclave.url,), ledger_rows=600)
    key = gateway.key()
    monkeypatch.setattr(
        ledgers.Ledger.__init__, "__kwdefaults__", {"capacity": 600, "open_database": disk.open}
    )
    async with gateway.serve():
        await gateway.ready()

        async def ask():
            client = await Client.connect(gateway.port)
            client.post(key, sealed(body=b"x"))
            status = await client.status()
            answer = await client.body()
            client.close()
            return status, answer

        for _ in range(5000):
            status, answer = await ask()
            if status == 503:
                break
        assert status == 503
        assert json.loads(answer)["code"] == "ledger-unavailable"
        assert gateway.parts.ledger.failing
        sent = len(enclave.requests)
        assert (await ask())[0] == 503
        assert len(enclave.requests) == sent
        assert json.loads((await get(gateway.port, "/healthz"))[2])["status"] == (
            "ledger-unavailable"
        )
        disk.give_room()
        await until(lambda: not gateway.parts.ledger.full)
        assert (await ask())[0] == 200
    assert gateway.rows("SELECT count(*) FROM requests") == [(sent + 1,)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, 130)])
async def test_a_stop_signal_loses_no_row(tmp_path, enclave, number, code):
    port = free_port()
    gateway = Gateway(tmp_path)
    key = gateway.key()
    settings = tmp_path / "confide.toml"
    settings.write_text(
        f"""[gateway]
port = {port}
database = "{gateway.settings.database}"
grant_key_file = "{gateway.settings.grant_key_file}"
pepper_file = "{gateway.settings.pepper_file}"
enclaves = ["{enclave.url}"]
"""
    )
    command = [sys.executable, "-m", "tests.unit.gateway.judges", str(settings)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stderr=subprocess.PIPE,
        # A job that a shell put into the background inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while (health := await asyncio.to_thread(json_of, port, "/healthz") or {}).get(
        "status"
    ) != "ok":
        assert process.returncode is None, health
        await asyncio.sleep(0.02)
    for _ in range(50):
        client = await Client.connect(port)
        client.post(key, sealed())
        assert await client.status() == 200
        await client.body()
        client.close()
    process.send_signal(number)
    async with asyncio.timeout(20):
        _, log = await process.communicate()
    assert process.returncode == code, log
    assert gateway.rows("SELECT count(*) FROM requests") == [(50,)]
    events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith(b"{")]
    assert events.count("relayed") == 50
    assert "gateway-stopped" in events
    assert key.encode() not in log
