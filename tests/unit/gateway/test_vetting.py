"""An enclave that does not prove itself to the gateway gets no request, whatever names it."""

import hashlib
import json
import time
from datetime import timedelta

import pytest
from click.testing import CliRunner
from tests.unit.gateway.doubles import (
    Client,
    EnclaveDouble,
    Gateway,
    get,
    make_document,
    sealed,
    until,
)
from tests.unit.gateway.judges import Judge

from confide.cli.main import cli
from confide.errors import ConfigError, NoEnclaveAvailable
from confide.gateway import vetting
from confide.gateway.registry import Enclave
from confide.gateway.routing import pick
from confide.gateway.standings import read_standings
from confide.gateway.upstream import EnclaveUpstream
from confide.gateway.vetting import Standing, Vetting
from confide.wire.directory import Directory, Replica
from confide.wire.key_document import KeyDocument

KEYS = "/.well-known/confide/keys"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(vetting, "RETRY_S", 0.0)


async def listed(gateway):
    return Directory.parse((await get(gateway.port, KEYS))[2]).replicas


async def post(gateway, document=None):
    client = await Client.connect(gateway.port)
    client.post(gateway.api_key, sealed(), document=document)
    status = await client.status()
    body = await client.body()
    client.close()
    return status, body


def checks(gateway, outcome):
    text = gateway.parts.instruments.render().decode()
    name = f'confide_gateway_evidence_checks_total{{outcome="{outcome}"}} '
    return int(float(next(line for line in text.splitlines() if line.startswith(name)).split()[1]))


async def test_an_enclave_is_challenged_with_a_nonce_of_the_gateway_before_it_is_offered(
    gateway, enclave
):
    raw, nonce, _ = gateway.judge.shown[0]
    digest = enclave.document.sha256_hex
    target = f"/.well-known/confide/evidence/{digest}?nonce={nonce.hex()}"
    assert enclave.challenges[0].target == target
    assert target.encode() in raw
    assert len(nonce) == 32
    assert checks(gateway, "accepted") == len(gateway.judge.shown)


async def test_a_refused_enclave_is_never_offered_and_gets_no_byte(tmp_path, enclave):
    gateway = Gateway(tmp_path, enclaves=(enclave.url,))
    gateway.api_key = gateway.key()
    gateway.judge.refused = True
    async with gateway.serve():
        await until(lambda: checks(gateway, "refused") >= 2)
        assert await listed(gateway) == ()
        for document in (enclave.document.sha256_hex, None):
            status, _ = await post(gateway, document)
            assert status in (400, 503)
        assert enclave.requests == []
        assert gateway.parts.registry.refused == 1
        assert (await get(gateway.port, "/healthz"))[2].startswith(b'{"status":"no-enclave"')


async def test_an_enclave_whose_evidence_turns_bad_loses_its_requests(gateway, enclave):
    document = enclave.document.sha256_hex
    assert (await post(gateway, document))[0] == 200
    gateway.judge.refused = True
    (registered,) = gateway.parts.registry.enclaves
    registered.standing.checked_at -= 3600
    registered.poll_soon()
    await until(lambda: gateway.parts.registry.refused == 1)
    assert (await post(gateway, document))[0] == 503
    assert await listed(gateway) == ()
    assert len(enclave.requests) == 1
    gateway.judge.refused = set()
    await gateway.ready()
    assert (await post(gateway, document))[0] == 200


async def test_a_new_document_is_offered_only_after_its_own_evidence(gateway, enclave):
    old = enclave.document
    new = make_document(enclave.usage_key, key_id=2)
    gateway.judge.refused = {new.sha256}
    enclave.document = new
    await until(lambda: gateway.parts.registry.refused == 1)
    assert await listed(gateway) == ()
    assert (await post(gateway, new.sha256_hex))[0] == 400
    # Whoever showed bad evidence is not trusted with what it showed before either.
    assert (await post(gateway, old.sha256_hex))[0] == 503
    assert enclave.requests == []


async def test_the_verdict_is_looked_at_again_for_every_request(gateway, enclave):
    document = enclave.document.sha256_hex
    (registered,) = gateway.parts.registry.enclaves
    registered.standing.accepted[document] = time.time() - 1  # ended since the last poll
    assert registered.healthy
    with pytest.raises(NoEnclaveAvailable):
        pick([registered], document=document.encode(), key_id=1, now=time.time())


async def test_the_evidence_is_looked_at_again_before_half_of_the_verdict_is_over(tmp_path):
    async with EnclaveDouble().serve() as enclave:
        gateway = Gateway(tmp_path, enclaves=(enclave.url,), poll_s=0.02)
        async with gateway.serve(verifier=Judge(life=timedelta(seconds=1))):
            await gateway.ready()
            await until(lambda: checks(gateway, "accepted") >= 3)
            assert gateway.parts.registry.healthy == 1


async def test_an_enclave_that_cannot_be_asked_keeps_its_verdict_until_that_ends(gateway, enclave):
    (registered,) = gateway.parts.registry.enclaves
    registered.standing.checked_at -= 3600  # due
    answer = enclave._plain

    async def no_evidence(request):
        if "/evidence/" in request.target:
            await enclave.reply(request, 503, b"{}")
        else:
            await answer(request)

    enclave._plain = no_evidence
    registered.poll_soon()
    await until(lambda: checks(gateway, "unavailable") >= 3)
    assert (await post(gateway, enclave.document.sha256_hex))[0] == 200
    registered.standing.accepted.clear()
    await until(lambda: gateway.parts.registry.healthy == 0)
    assert (await post(gateway, enclave.document.sha256_hex))[0] == 503


async def test_an_enclave_that_never_shows_evidence_is_never_offered(tmp_path, enclave):
    answer = enclave._plain

    async def no_evidence(request):
        if "/evidence/" in request.target:
            await enclave.reply(request, 404, b"{}")
        else:
            await answer(request)

    enclave._plain = no_evidence
    gateway = Gateway(tmp_path, enclaves=(enclave.url,), poll_s=0.02)
    async with gateway.serve():
        await until(lambda: checks(gateway, "unavailable") >= 3)
        assert await listed(gateway) == ()


async def test_the_listing_says_why(tmp_path, enclave, monkeypatch):
    gateway = Gateway(tmp_path, enclaves=(enclave.url,))
    gateway.judge.refused = True
    settings = tmp_path / "confide.toml"
    settings.write_text(
        f'[gateway]\ndatabase = "{gateway.settings.database}"\nenclaves = ["{enclave.url}"]\n'
    )
    command = ["admin", "enclaves", "list", "--json", "--config", str(settings)]

    def rows():
        return json.loads(CliRunner().invoke(cli, command).stdout)

    async with gateway.serve():
        await until(lambda: read_standings(gateway.settings.database))
        (row,) = rows()
        assert row["evidence"] == "refused"
        assert (row["code"], row["factor"]) == ("appraisal.refused", "measurement accepted")
        gateway.judge.refused = set()
        await gateway.ready()
        (row,) = rows()
        assert (row["evidence"], row["platform"], row["code"]) == ("accepted", "test-cpu", None)
        assert row["until"] > time.time()
    (row,) = rows()
    assert row["evidence"] == "not checked"  # the gateway has stopped


def test_a_damaged_word_of_the_standings_is_no_word(tmp_path):
    for content in (b"", b"[]", b'{"enclaves":5}', b'{"enclaves":[{}]}', b"\xff"):
        (tmp_path / "gateway.db.enclaves.json").write_bytes(content)
        assert read_standings(tmp_path / "gateway.db") == {}


def test_a_gateway_without_a_policy_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path))
    done = CliRunner().invoke(cli, ["gateway", "serve", "--port", "0"])
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "gateway").exists()


def enclave_with(document):
    one = Enclave("http://e:1", EnclaveUpstream("http://e:1"))
    one.accept(Replica(document.raw, b"", b""), document)
    one.healthy = True
    return one


def successor(usage_key, before):
    members = json.loads(make_document(usage_key).raw)
    members["previous_sha256"] = before.sha256_hex
    return KeyDocument.parse(json.dumps(members, separators=(",", ":")).encode())


async def test_evidence_for_a_document_covers_those_it_names_before_it():
    double = EnclaveDouble()
    first = double.document
    second = successor(double.usage_key, first)
    third = successor(double.usage_key, second)
    one = enclave_with(first)
    for document in (second, third):
        one.accept(Replica(document.raw, b"", b""), document)
    one.standing.accepted = {third.sha256_hex: 100.0}
    for document in (first, second, third):
        assert one.vouched(document.sha256_hex, 99)
        assert not one.vouched(document.sha256_hex, 100)
    assert not one.vouched(hashlib.sha256(b"stranger").hexdigest(), 99)


async def test_a_document_that_names_another_past_covers_only_itself():
    double = EnclaveDouble()
    one = enclave_with(double.document)
    other = make_document(double.usage_key)
    one.accept(Replica(other.raw, b"", b""), other)
    one.standing.accepted = {other.sha256_hex: 100.0}
    assert one.vouched(other.sha256_hex, 0)
    assert not one.vouched(double.document.sha256_hex, 0)


def test_it_is_time_to_ask_again_after_the_pause_or_half_a_life(monkeypatch):
    monkeypatch.setattr(vetting, "RETRY_S", 30.0)
    asked = Vetting(Judge(), now=lambda: 0.0, every_s=600)
    fresh = Standing(accepted={"d": 1_100.0}, document="d", checked_at=100.0)
    assert asked.due(Standing(), "d", 100)
    assert asked.due(fresh, "another", 101)
    assert not asked.due(fresh, "d", 599)
    assert asked.due(fresh, "d", 600)  # half of 1000 s
    assert asked.due(fresh, "d", 99)  # the clock went back
    refused = Standing(document="d", code="x", checked_at=100.0)
    assert not asked.due(refused, "d", 129)
    assert asked.due(refused, "d", 130)
