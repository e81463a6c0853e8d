"""Whoever is refused is told one next step."""

import pytest
from tests.unit.gateway.doubles import Client, Gateway, sealed
from tests.unit.gateway.test_routes import refused

from confide.errors import ConfigError
from confide.gateway.accounts import Accounts
from confide.gateway.ledger import Ledger
from confide.gateway.schema import connect
from confide.identity.api_keys import mint


@pytest.fixture
async def alone(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.api_key = gateway.key()
    gateway.expired = gateway.key(now=1.0, expires_at=2)
    gateway.revoked = gateway.key()
    Accounts(gateway.settings.database).revoke_key(gateway.key_id, now=2.0)
    gateway.unknown = mint(bytes(32), now=1.0)[0].reveal()
    async with gateway.serve():
        yield gateway


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("unknown", "invalid-api-key"),
        ("expired", "key-expired"),
        ("revoked", "key-revoked"),
        ("settings", "invalid-api-key"),
    ],
)
async def test_a_refused_key_names_the_command_that_makes_one(alone, name, code):
    client = await Client.connect(alone.port)
    if name == "settings":  # none at all
        client.head("GET", "/v1/key", [])
    else:
        client.post(getattr(alone, name), sealed())
    assert "confide admin keys create" in (await refused(client, 401, code))["detail"]
    client.close()


async def test_without_an_enclave_the_command_that_lists_them_is_named(alone):
    client = await Client.connect(alone.port)
    client.post(alone.api_key, sealed())
    assert "confide admin enclaves list" in (await refused(client, 503, "no-enclave"))["detail"]
    client.close()


async def test_with_a_full_ledger_the_event_that_says_why_is_named(alone, monkeypatch):
    monkeypatch.setattr(Ledger, "full", True)
    client = await Client.connect(alone.port)
    client.post(alone.api_key, sealed())
    problem = await refused(client, 503, "ledger-unavailable")
    assert "ledger-failing" in problem["detail"]
    client.close()


def test_a_domain_that_is_not_there_names_the_command_that_makes_it(tmp_path):
    gateway = Gateway(tmp_path)
    with pytest.raises(ConfigError) as refused:
        gateway.key(domain="absent")
    assert refused.value.hint == "confide admin domains set absent"


def test_a_change_that_the_database_refuses_says_when_to_try_again(tmp_path):
    gateway = Gateway(tmp_path)
    accounts = Accounts(gateway.settings.database)
    connection = connect(gateway.settings.database)
    connection.execute("DROP TABLE enclaves")
    connection.close()
    with pytest.raises(ConfigError) as refused:
        accounts.add_enclave("http://127.0.0.1:1", now=1)
    assert refused.value.hint
