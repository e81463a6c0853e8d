"""The registry offers enclaves that answer, and follows them when their keys change."""

import time

import pytest
from tests.unit.gateway.doubles import (
    Client,
    EnclaveDouble,
    Gateway,
    get,
    make_document,
    sealed,
    until,
)

from confide.config.enclave import DoorSettings
from confide.errors import ConfigError, KeyConfigError, NoEnclaveAvailable
from confide.gateway.accounts import Accounts
from confide.gateway.addresses import enclave_url
from confide.gateway.registry import Enclave
from confide.gateway.routing import pick
from confide.gateway.upstream import EnclaveUpstream
from confide.wire.directory import Directory, Replica

KEYS = "/.well-known/confide/keys"


async def test_an_unhealthy_enclave_is_ejected_and_readmitted(gateway, enclave):
    enclave.healthy = False
    await until(lambda: gateway.parts.registry.healthy == 0)
    assert Directory.parse((await get(gateway.port, KEYS))[2]).replicas == ()
    enclave.healthy = True
    await gateway.ready()
    assert len(Directory.parse((await get(gateway.port, KEYS))[2]).replicas) == 1


async def test_a_document_that_cannot_be_read_ejects_the_enclave(gateway, enclave):
    class Broken:
        raw = b'{"v":2}'

    enclave.document = Broken()
    await until(lambda: gateway.parts.registry.healthy == 0)


async def test_after_a_rotation_both_documents_are_routed(gateway, enclave, connect):
    old = enclave.document.sha256_hex
    enclave.document = make_document(enclave.usage_key, key_id=2)
    registered = gateway.parts.registry.enclaves[0]
    await until(lambda: registered.document.sha256 == enclave.document.sha256)
    for document, key_id in ((old, 1), (enclave.document.sha256_hex, 2)):
        client = await connect()
        client.post(gateway.api_key, sealed(key_id=key_id), document=document)
        assert await client.status() == 200


async def test_after_a_restart_the_old_document_is_a_key_problem(gateway, enclave, connect):
    old = enclave.document.sha256_hex
    enclave.document = make_document(enclave.usage_key, key_id=2, boot_id="cd" * 16)
    registered = gateway.parts.registry.enclaves[0]
    await until(lambda: registered.document.boot_id == "cd" * 16)
    client = await connect()
    client.post(gateway.api_key, sealed(key_id=1), document=old)
    assert await client.status() == 400
    assert (await client.problem())["code"] == "ohttp-key"


async def test_a_key_problem_of_the_enclave_refreshes_its_document_at_once(tmp_path):
    async with EnclaveDouble().serve() as enclave:
        gateway = Gateway(tmp_path, enclaves=(enclave.url,), poll_s=3600)
        key = gateway.key()
        async with gateway.serve():
            await gateway.ready()
            old = enclave.document.sha256_hex
            enclave.document = make_document(enclave.usage_key, key_id=2, boot_id="cd" * 16)
            enclave.answer = enclave.problem
            client = await Client.connect(gateway.port)
            client.post(key, sealed(), document=old)
            assert await client.status() == 400
            client.close()
            # The next directory already has the new document: the client retries only once.
            (replica,) = Directory.parse((await get(gateway.port, KEYS))[2]).replicas
            assert replica.document == enclave.document.raw


async def test_enclaves_of_the_database_come_and_go_without_a_restart(gateway, enclave):
    accounts = Accounts(gateway.settings.database)
    async with EnclaveDouble(key_id=7, boot_id="cd" * 16).serve() as second:
        accounts.add_enclave(second.url, now=time.time())
        await gateway.ready(2)
        found = Directory.parse((await get(gateway.port, KEYS))[2]).replicas
        assert {r.document for r in found} == {enclave.document.raw, second.document.raw}
        accounts.remove_enclave(second.url)
        await until(lambda: gateway.parts.registry.healthy == 1)
    assert len(gateway.parts.registry.enclaves) == 1


async def test_a_replica_reached_by_two_addresses_is_listed_once(gateway, enclave):
    other = enclave.url.replace("127.0.0.1", "localhost")
    Accounts(gateway.settings.database).add_enclave(other, now=time.time())
    await gateway.ready(2)
    assert len(Directory.parse((await get(gateway.port, KEYS))[2]).replicas) == 1


def known(document, *, healthy=True):
    enclave = Enclave("http://e:1", EnclaveUpstream("http://e:1"))
    enclave.accept(Replica(document.raw, b"", b""), document)
    enclave.healthy = healthy
    enclave.standing.accepted[document.sha256_hex] = 1e12
    return enclave


def test_without_a_document_an_unambiguous_key_id_is_enough():
    doubles = [EnclaveDouble(key_id=1), EnclaveDouble(key_id=2), EnclaveDouble(key_id=2)]
    enclaves = [known(double.document) for double in doubles]
    assert pick(enclaves, document=None, key_id=1, now=0) is enclaves[0]
    for key_id in (2, 3):
        with pytest.raises(KeyConfigError):
            pick(enclaves, document=None, key_id=key_id, now=0)


def test_an_enclave_that_is_known_but_down_is_not_a_key_problem():
    double = EnclaveDouble()
    enclaves = [known(double.document, healthy=False)]
    with pytest.raises(NoEnclaveAvailable):
        pick(enclaves, document=double.document.sha256_hex.encode(), key_id=1, now=0)
    with pytest.raises(NoEnclaveAvailable):
        pick(enclaves, document=None, key_id=1, now=0)


def test_a_document_is_routed_until_its_grace_is_over():
    double = EnclaveDouble()
    enclaves = [known(double.document)]
    header = double.document.sha256_hex.encode()
    end = double.document.not_after
    assert pick(enclaves, document=header, key_id=1, now=end + 3599) is enclaves[0]
    with pytest.raises(KeyConfigError):
        pick(enclaves, document=header, key_id=1, now=end + 86_400)


def test_the_number_of_remembered_documents_is_bounded():
    double = EnclaveDouble()
    enclave = known(double.document)
    for _ in range(40):
        document = make_document(double.usage_key)
        enclave.accept(Replica(document.raw, b"", b""), document)
    assert not enclave.knows(double.document.sha256_hex)
    assert enclave.knows(document.sha256_hex)
    assert len(enclave._documents) == 16


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://127.0.0.1:8002", "http://127.0.0.1:8002"),
        ("HTTP://Enclave.Example/", "http://enclave.example:80"),
        ("https://e.example", "https://e.example:443"),
        ("http://[::1]:8002", "http://[::1]:8002"),
    ],
)
def test_a_base_url_is_written_in_one_form(url, normal):
    assert enclave_url(url) == normal


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8002", "ftp://e", "http://", "http://e/path", "http://e?x=1", "http://e#x",
     "http://u:p@e", "http://e:99999", "http://é"],
)  # fmt: skip
def test_what_is_not_a_base_url_is_refused(url):
    with pytest.raises(ConfigError):
        enclave_url(url)


def test_a_replaced_document_is_routed_for_the_longest_grace_an_enclave_may_have(enclave_of):
    (longest,) = (
        bound.le
        for bound in DoorSettings.model_fields["key_grace_s"].metadata
        if hasattr(bound, "le")
    )
    one, document = enclave_of()
    end = document.not_after + longest
    assert pick([one], document=document.sha256_hex.encode(), key_id=1, now=end - 1) is one
    with pytest.raises(KeyConfigError):
        pick([one], document=document.sha256_hex.encode(), key_id=1, now=end)


@pytest.fixture
def enclave_of():
    def make():
        document = EnclaveDouble().document
        one = Enclave("http://e:1", EnclaveUpstream("http://e:1"))
        one.accept(Replica(document.raw, b"evidence", b"manifest"), document)
        one.healthy = True
        one.standing.accepted[document.sha256_hex] = 1e12
        return one, document

    return make
