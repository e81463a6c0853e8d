"""With hardware evidence: refuse before the first sealed byte, and remember for so long only."""

import asyncio
import json
import threading

import httpx2
import pytest
from tests.doubles.hardware_stack import LIST, HardwareStack, a_list
from tests.doubles.sealed_stack import Refusal

from confide.attest.collateral import EndorsementCache, History, encode_bundle, read_bundle
from confide.client import AsyncEncryptedTransport, EncryptedTransport
from confide.errors import AppraisalError, AttestationError, EndorsementError, EvidenceError
from confide.proxy.app import build_app

COLLATERAL = "/.well-known/confide/collateral"


@pytest.fixture
def stack():
    return HardwareStack()


def client_for(stack, *sources):
    transport = EncryptedTransport(
        stack.url,
        api_key="ck_test",
        verifier=stack.hardware(*sources),
        transport=stack.transport,
        clock=stack.clock,
    )
    return httpx2.Client(transport=transport, base_url="https://confide.invalid")


def ask(client):
    return client.post("/v1/chat/completions", content=b"{}")


def refused(client):
    with pytest.raises(AttestationError) as caught:
        ask(client)
    return caught.value


def test_accepted_hardware_evidence_lets_a_request_through(stack):
    assert ask(client_for(stack)).status_code == 200
    assert len(stack.posts) == 1


BAD = {
    "other measurement": (lambda e: e.claiming(measurement="ff" * 48), AppraisalError),
    "debuggable": (lambda e: e.claiming(debuggable=True), AppraisalError),
    "old firmware": (lambda e: e.claiming(tcb={"microcode": 4}), AppraisalError),
    "another nonce": (lambda e: type(e)(document=e.document, nonce=bytes(32)), AttestationError),
    "another key": (
        lambda e: type(e)(nonce=e.nonce, manifest_sha256=e.manifest_sha256),
        AttestationError,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_evidence_leaves_no_sealed_byte_behind(stack, name):
    stack.enclave.make, kind = BAD[name]
    error = refused(client_for(stack))
    assert isinstance(error, kind)
    assert stack.posts == []
    assert error.failed_factor is not None
    assert error.failed_factor in str(error)


def test_the_error_names_the_factor_that_failed(stack):
    stack.enclave.make = BAD["debuggable"][0]
    assert refused(client_for(stack)).failed_factor == "debug off"


async def test_the_proxy_names_the_factor_and_sends_nothing(stack):
    stack.enclave.make = BAD["debuggable"][0]
    transport = AsyncEncryptedTransport(
        stack.url,
        api_key="ck_test",
        verifier=stack.hardware(),
        transport=stack.transport,
        clock=stack.clock,
    )
    app = build_app(transport, port=8000, body_limit=1_000_000)
    local = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=local, base_url="http://127.0.0.1:8000") as client:
        answer = await client.post("/v1/chat/completions", json={"model": "m", "messages": []})
    assert answer.status_code == 502
    error = json.loads(answer.content)["error"]
    assert error["type"] == "attestation_error"
    assert "debug off" in error["message"]
    assert stack.posts == []


def test_one_refused_replica_is_not_used_and_the_other_is():
    stack = HardwareStack(replicas=2)
    stack.enclave.make = BAD["debuggable"][0]
    client = client_for(stack)
    for _ in range(3):
        assert ask(client).status_code == 200
    named = {post.headers["confide-document"] for post in stack.posts}
    assert named == {stack.enclaves[1].document.sha256_hex}
    assert stack.enclaves[0].requests == []


def test_each_replica_is_verified_and_kept_until_the_list_ends(stack):
    stack.staples = [a_list(until_h=0.5)]
    client = client_for(stack)
    for minutes in (0, 10, 29):
        stack.clock.at += 60 * minutes - (stack.clock.at - 1_800_000_000)
        assert ask(client).status_code == 200
    assert stack.platform.calls == 1
    stack.clock.at = 1_800_000_000 + 30 * 60  # the earliest authenticated end, to the second
    assert refused(client).code == "test.list_expired"
    assert len(stack.posts) == 3
    stack.staples = [a_list(2, issued_h=0.4)]
    assert ask(client).status_code == 200


def test_the_end_is_looked_at_when_the_request_is_made(stack):
    stack.staples = [a_list(until_h=0.5)]
    client = client_for(stack)
    ask(client)
    stack.clock.at += 1_799
    ask(client)
    assert stack.platform.calls == 1
    stack.clock.at += 1
    stack.staples = []
    assert refused(client).code == "collateral.missing"
    assert len(stack.posts) == 2


def test_callers_at_once_verify_once(stack):
    client = client_for(stack)
    threads = [threading.Thread(target=ask, args=(client,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (stack.platform.calls, len(stack.posts)) == (1, 8)


async def test_tasks_at_once_share_one_refusal(stack):
    stack.enclave.make = BAD["debuggable"][0]

    async def slowly(request):
        await asyncio.sleep(0)  # let the other tasks come this far
        return stack.handle(request)

    transport = AsyncEncryptedTransport(
        stack.url,
        api_key="ck_test",
        verifier=stack.hardware(),
        transport=httpx2.MockTransport(slowly),
        clock=stack.clock,
    )
    async with httpx2.AsyncClient(
        transport=transport, base_url="https://confide.invalid"
    ) as client:
        done = await asyncio.gather(
            *(client.post("/v1/chat/completions", content=b"{}") for _ in range(8)),
            return_exceptions=True,
        )
    assert all(isinstance(error, AppraisalError) for error in done)
    assert stack.platform.calls == 1
    assert stack.posts == []


# ---- where endorsements come from --------------------------------------------------------------


def test_what_the_gateway_staples_is_used(stack):
    assert ask(client_for(stack)).status_code == 200
    assert stack.fetches.count(COLLATERAL) == 1


@pytest.mark.parametrize(
    "staples", [None, [], Refusal.of("rate-limited", 429)], ids=["no route", "empty", "refused"]
)
def test_without_staples_the_cache_of_this_machine_is_enough(stack, tmp_path, staples):
    stack.staples = staples
    assert refused(client_for(stack)).code == "collateral.missing"
    assert stack.posts == []
    cache = EndorsementCache(tmp_path)
    cache.add(a_list(), at=0)
    assert ask(client_for(stack, cache)).status_code == 200


def test_a_bundle_that_was_carried_here_is_enough(stack):
    stack.staples = None
    carried = read_bundle(encode_bundle([a_list()]), source="bundle")
    assert ask(client_for(stack, carried)).status_code == 200


@pytest.mark.parametrize("staples", [b"", b"{}", encode_bundle([a_list()])[:-3]], ids=str)
def test_malformed_staples_are_refused(stack, staples):
    stack.staples = staples
    assert isinstance(refused(client_for(stack)), EvidenceError)
    assert stack.posts == []


def test_a_forged_staple_is_worth_nothing_and_hides_nothing(stack, tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    forged = a_list(9, root=Ed25519PrivateKey.generate())
    stack.staples = [forged]
    error = refused(client_for(stack, History(tmp_path)))
    assert isinstance(error, EndorsementError)
    assert error.code == "test.list_signature"
    assert History(tmp_path).facts() == ()  # nobody but the vendor moves the floor
    stack.staples = [forged, a_list()]
    assert ask(client_for(stack, History(tmp_path))).status_code == 200


def test_an_expired_entry_of_the_cache_does_not_hide_a_fresh_staple(stack, tmp_path):
    cache = EndorsementCache(tmp_path)
    cache.add(a_list(1, issued_h=-48, until_h=-24), at=0)
    assert ask(client_for(stack, cache)).status_code == 200


def test_a_poisoned_cache_refuses_and_lets_nothing_through(stack, tmp_path):
    stack.staples = None
    cache = EndorsementCache(tmp_path)
    line = cache.add(a_list(), at=0)
    (tmp_path / "objects" / line.sha256.hex()).write_bytes(b"x" * 200)
    assert refused(client_for(stack, cache)).code == "collateral.missing"
    from confide.attest.endorsements import Endorsement

    cache.add(Endorsement(LIST, b"x" * 200, "an attacker who knows the format"), at=0)
    assert refused(client_for(stack, cache)).code == "test.list_signature"
    assert stack.posts == []


@pytest.mark.parametrize("kept", [True, False], ids=["on disk", "in this process"])
def test_an_older_list_is_refused_after_a_newer_one_was_seen(stack, tmp_path, kept):
    history = History(tmp_path if kept else None)
    stack.staples = [a_list(5, issued_h=-1)]
    assert ask(client_for(stack, history)).status_code == 200
    stack.staples = [a_list(4, issued_h=-2)]  # genuine and in date, but older
    again = History(tmp_path) if kept else history  # a new process, or this one
    assert refused(client_for(stack, again)).code == "collateral.rollback"
    assert len(stack.posts) == 1
    stack.staples = [a_list(4, issued_h=-2), a_list(5, issued_h=-1)]
    assert ask(client_for(stack, again)).status_code == 200


def test_an_sdk_that_was_given_a_policy_only_remembers_for_its_process(stack, monkeypatch):
    from tests.doubles.hardware_stack import policy
    from tests.unit.attest.enclave_double import CPU

    from confide.attest import verifier as module

    made = module.Verifier

    def with_platform(given, *, endorsements):
        return made(given, platforms={CPU: stack.platform}, endorsements=endorsements)

    monkeypatch.setattr(module, "Verifier", with_platform)
    transport = EncryptedTransport(
        stack.url, policy(), api_key="ck_test", transport=stack.transport, clock=stack.clock
    )
    stack.staples = [a_list(5)]
    assert len(transport.verify()) == 1
    stack.staples = [a_list(4)]
    with pytest.raises(EndorsementError) as caught:
        transport.verify()
    assert caught.value.code == "collateral.rollback"
