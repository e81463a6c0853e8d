"""Changes of the database are followed for as long as the gateway lives."""

import sqlite3

import pytest
from tests.unit.gateway.doubles import Gateway, get, until

from confide.gateway.accounts import Accounts
from confide.gateway.callers import Callers
from confide.gateway.registry import Registry
from confide.identity.api_keys import mint
from confide.identity.principal import Limits
from confide.identity.records import DomainRecord


def test_a_pair_added_while_the_accounts_are_read_is_found_by_the_next_look(tmp_path, monkeypatch):
    gateway = Gateway(tmp_path)
    accounts = Accounts(gateway.settings.database)
    callers = Callers(gateway.settings.database, Limits(60, 60, 8))
    read, added = callers._rows, []

    def rows(query):
        if "api_keys" in query and not added:
            accounts.put_domain(DomainRecord("new"))
            added.append(mint(gateway.state.pepper, now=1.0, domain="new")[1])
            accounts.add_key(added[0])
        return read(query)

    monkeypatch.setattr(callers, "_rows", rows)
    gateway.key()
    assert callers.refresh()
    assert callers.find(added[0].digest) is None  # read as it was before
    assert callers.refresh()
    assert callers.find(added[0].digest).principal.domain == "new"
    callers.close()


@pytest.mark.parametrize("error", [KeyError, ValueError, sqlite3.DatabaseError])
async def test_a_revocation_is_followed_after_an_unexpected_error(tmp_path, monkeypatch, error):
    gateway = Gateway(tmp_path)
    key = gateway.key()
    async with gateway.serve():
        callers = gateway.parts.callers
        refresh, failures = callers.refresh, []

        def fail_twice():
            if len(failures) < 2:
                failures.append(1)
                raise error
            return refresh()

        monkeypatch.setattr(callers, "refresh", fail_twice)
        Accounts(gateway.settings.database).revoke_key(gateway.key_id, now=2.0)
        await until(lambda: callers.refresh is fail_twice and len(failures) == 2)
        await until(lambda: next(iter(callers._by_digest.values())).principal.revoked)
        assert (await get(gateway.port, "/v1/key", key))[0] == 401
        text = (await get(gateway.port, "/metrics"))[2]
        assert b'confide_gateway_task_failures_total{task="accounts"} 2\n' in text


@pytest.mark.parametrize("method", ["poll", "collect"])
async def test_the_watch_of_an_enclave_goes_on_after_an_unexpected_error(
    tmp_path, enclave, monkeypatch, method
):
    from confide.gateway.metering import UsageCollector

    owner = Registry if method == "poll" else UsageCollector
    real, failures = getattr(owner, method), []

    async def fail_once(self, one):
        if not failures:
            failures.append(1)
            raise ZeroDivisionError
        return await real(self, one)

    monkeypatch.setattr(owner, method, fail_once)
    gateway = Gateway(tmp_path, enclaves=(enclave.url,))
    async with gateway.serve():
        await gateway.ready()
        enclave.sign()
        await until(lambda: enclave.acknowledged == 1)
    assert failures


async def test_stopping_writes_the_rows_even_if_another_step_fails(tmp_path, monkeypatch):
    gateway = Gateway(tmp_path)
    stopped = []

    async def broken(self):
        raise ZeroDivisionError

    monkeypatch.setattr(Registry, "stop", broken)
    async with gateway.serve():
        ledger = gateway.parts.ledger
        stop = ledger.stop
        monkeypatch.setattr(ledger, "stop", lambda: stopped.append(stop()) or 0)
    assert stopped == [0]
