"""The operator's commands do what they say, and the key appears once and nowhere else."""

import json
import re
import time

import pytest
from click.testing import CliRunner

from confide.cli.main import cli
from confide.gateway.accounts import Accounts
from confide.gateway.ledger import ChainRow, Ledger, StatementBatch
from confide.gateway.schema import REVISION
from confide.identity.records import DomainRecord


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path))
    for name in ("CONFIDE_CONFIG", "CONFIDE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    run("gateway", "init")
    return tmp_path


def run(*words, fails=False):
    result = CliRunner().invoke(cli, words)
    if fails:
        assert result.exit_code != 0
        return result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*words):
    return json.loads(run(*words, "--json"))


def create(*options):
    return run_json("admin", "keys", "create", *options)


def test_init_prints_the_public_key_and_the_same_the_second_time(home):
    first, second = run_json("gateway", "init"), run_json("gateway", "init")
    assert first == second
    assert re.fullmatch(r"[\w-]{43}", first["grant_public_key"])


def test_a_key_is_shown_once_and_lies_in_no_file(home):
    made = create("--label", "laptop", "--expires", "30d")
    assert re.fullmatch(r"ck_[0-9A-Za-z]{49}", made["key"])
    assert made["expires_at"] == pytest.approx(time.time() + 30 * 86400, abs=60)
    shown = run("admin", "keys", "list") + run("admin", "keys", "list", "--json")
    assert made["key"] not in shown
    assert f"ck_...{made['key'][-4:]}" in shown
    for path in home.rglob("*"):
        if path.is_file():
            assert made["key"].encode() not in path.read_bytes()
            assert made["key"][3:46].encode() not in path.read_bytes()


def test_a_key_has_the_limits_it_was_made_with(home):
    create("--requests-per-minute", "7", "--burst", "3", "--streams", "2")
    (record,) = Accounts(home / "gateway" / "gateway.db").keys()
    assert (record.requests_per_minute, record.burst, record.max_streams) == (7, 3, 2)


def test_revoking_is_for_good(home):
    made = create()
    assert run_json("admin", "keys", "revoke", made["id"]) == {"id": made["id"], "revoked": True}
    (row,) = run_json("admin", "keys", "list")
    assert row["state"] == "revoked"
    (before,) = Accounts(home / "gateway" / "gateway.db").keys()
    run("admin", "keys", "revoke", made["id"])
    (after,) = Accounts(home / "gateway" / "gateway.db").keys()
    assert before.revoked_at == after.revoked_at


@pytest.mark.parametrize(
    "words",
    [
        ("admin", "keys", "revoke", "key_none"),
        ("admin", "keys", "create", "--domain", "none"),
        ("admin", "keys", "create", "--expires", "soon"),
        ("admin", "keys", "create", "--expires", "0d"),
        ("admin", "keys", "create", "--streams", "0"),
        ("admin", "keys", "create", "--label", "x" * 201),
        ("admin", "enclaves", "add", "http://e/path"),
        ("admin", "enclaves", "remove", "http://e:1"),
        ("admin", "usage", "--since", "forever"),
        ("admin", "domains", "set", "Not A Domain"),
        ("admin", "domains", "set", "research", "--operation", "fly"),
    ],
)
def test_what_cannot_be_done_is_an_error_and_changes_nothing(home, words):
    run(*words, fails=True)
    accounts = Accounts(home / "gateway" / "gateway.db")
    assert (accounts.keys(), accounts.enclaves(), len(accounts.domains())) == ([], [], 1)


def test_admin_needs_a_database(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path))
    run("admin", "keys", "list", fails=True)
    assert not (tmp_path / "gateway").exists()


def test_enclaves_are_added_once_and_removed(home):
    url = "http://127.0.0.1:8002"
    assert run_json("admin", "enclaves", "add", url) == {"enclave": url, "added": True}
    assert run_json("admin", "enclaves", "add", url + "/")["added"] is False
    (row,) = run_json("admin", "enclaves", "list")
    assert (row["enclave"], row["from"], row["evidence"]) == (url, "database", "not checked")
    run("admin", "enclaves", "remove", url)
    assert run_json("admin", "enclaves", "list") == []


def test_usage_shows_days_and_refused_chains(home):
    database = home / "gateway" / "gateway.db"
    ledger = Ledger(database)
    ledger.start()
    chain = ChainRow("ab" * 16, "http://e:1", bytes(32), 4, "00" * 32, "broken-chain")
    ledger.add(StatementBatch((), chain, lambda: None))
    ledger.stop()
    shown = run_json("admin", "usage")
    assert shown["days"] == []
    assert shown["without_statement"] == 0
    assert [c["problem"] for c in shown["refused_chains"]] == ["broken-chain"]
    result = CliRunner().invoke(cli, ["admin", "usage"])
    assert "broken-chain" in result.stderr


def test_migrating_a_current_database_is_no_change(home):
    shown = run_json("gateway", "migrate")
    assert (shown["revision"], shown["backup"]) == (REVISION, None)


def test_a_domain_is_set_and_listed(home):
    words = ("admin", "domains", "set", "research", "--model", "small", "--operation", "chat")
    made = run_json(*words, "--usage", "exact")
    assert made == {
        "domain": "research", "models": ["small"], "operations": ["chat"], "usage": "exact",
    }  # fmt: skip
    assert [row["domain"] for row in run_json("admin", "domains", "list")] == [
        "default", "research",
    ]  # fmt: skip
    assert run_json("admin", "domains", "set", "research")["models"] == ["*"]


def test_a_domain_is_stored_and_replaced(home):
    accounts = Accounts(home / "gateway" / "gateway.db")
    accounts.put_domain(DomainRecord("research", ("small",), ("chat",), "exact", 5))
    accounts.put_domain(DomainRecord("research", ("large",), ("chat",), "bucketed", 9))
    assert accounts.domains()[1] == DomainRecord("research", ("large",), ("chat",), "bucketed", 5)
    create("--domain", "research")
