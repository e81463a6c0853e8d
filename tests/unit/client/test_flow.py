"""What the client fetches, verifies, sends and sends again, and what it never does."""

import asyncio
import dataclasses
import threading
from datetime import timedelta

import httpx2
import pytest
from tests.doubles.sealed_stack import (
    EnclaveDouble,
    Inner,
    Refusal,
    SealedStack,
    Stream,
)

from confide.client import AsyncEncryptedTransport, EncryptedTransport
from confide.client.drivers import Driver
from confide.client.flow import renew
from confide.errors import (
    AttestationError,
    BindingError,
    ConfigError,
    KeyConfigError,
    OpenError,
    ReplayError,
    SealingError,
    StreamTruncated,
    TransportError,
)
from confide.wire.directory import Directory, Replica
from confide.wire.key_document import KeyDocument
from confide.wire.media_types import DIRECTORY, EVIDENCE

KEYS = "/.well-known/confide/keys"


@pytest.fixture
def stack():
    return SealedStack()


def transport_for(stack, **options):
    options.setdefault("verifier", stack.verifier)
    return EncryptedTransport(
        stack.url, api_key="ck_test", transport=stack.transport, clock=stack.clock, **options
    )


def client_for(stack, **options):
    return httpx2.Client(
        transport=transport_for(stack, **options), base_url="https://confide.invalid"
    )


def ask(client, body=b"{}"):
    return client.post("/v1/chat/completions", content=body)


def code_of(response):
    return response.json()["error"]["code"]


class CountingVerifier:
    """Counts checks and keeps their nonces; may shorten the verdict's life."""

    def __init__(self, inner, life_s=None):
        self.inner, self.life_s, self.nonces, self.documents = inner, life_s, [], []

    def verify(self, raw_evidence, *, document, manifest, nonce, at):
        self.nonces.append(nonce)
        self.documents.append(document)
        verdict = self.inner.verify(
            raw_evidence, document=document, manifest=manifest, nonce=nonce, at=at
        )
        if self.life_s is None:
            return verdict
        return dataclasses.replace(verdict, expires_at=at + timedelta(seconds=self.life_s))


# --- verification ------------------------------------------------------------------------


def test_nothing_is_sealed_before_the_enclave_is_verified(stack):
    ask(client_for(stack))
    document = stack.enclave.document.sha256_hex
    assert stack.fetches == [KEYS, f"/.well-known/confide/evidence/{document}"]
    assert len(stack.posts) == 1


def test_a_verified_enclave_is_not_asked_again_for_every_request(stack):
    client = client_for(stack)
    for _ in range(3):
        ask(client)
    assert len(stack.fetches) == 2


def test_every_challenge_has_a_fresh_nonce_of_32_bytes(stack):
    verifier = CountingVerifier(stack.verifier)
    transport = transport_for(stack, verifier=verifier)
    transport.verify()
    transport.verify()
    assert {len(nonce) for nonce in verifier.nonces} == {32}
    assert len(set(verifier.nonces)) == 2


def test_cached_evidence_does_not_answer_a_challenge(stack):
    def cached(request):
        answer = stack.handle(request)
        if "evidence" in request.url.path:
            headers = {"content-type": EVIDENCE}
            return httpx2.Response(200, headers=headers, content=stack.enclave.evidence(b""))
        return answer

    stack.transport.handler = cached
    with pytest.raises(BindingError):
        ask(client_for(stack))
    assert stack.posts == []


def test_documents_are_fetched_without_the_credential(stack):
    seen = []
    stack.before = lambda request: seen.append(request)
    ask(client_for(stack))
    assert [r.headers.get("authorization") for r in seen] == [None, None, "Bearer ck_test"]


@pytest.mark.parametrize(("later_s", "checks"), [(3599, 1), (3600, 2), (-1, 2)])
def test_a_check_is_repeated_after_an_hour_and_when_the_clock_went_back(stack, later_s, checks):
    verifier = CountingVerifier(stack.verifier, life_s=86_400)
    client = client_for(stack, verifier=verifier)
    ask(client)
    stack.clock.at += later_s
    ask(client)
    assert len(verifier.nonces) == checks


@pytest.mark.parametrize(("later_s", "checks"), [(599, 1), (600, 2), (601, 2)])
def test_nothing_is_sent_at_or_after_the_earliest_expiry_before_a_new_check(stack, later_s, checks):
    verifier = CountingVerifier(stack.verifier, life_s=600)
    client = client_for(stack, verifier=verifier)
    ask(client)
    stack.clock.at += later_s
    ask(client)
    assert len(verifier.nonces) == checks


def test_nothing_is_sealed_to_a_document_that_has_ended():
    stack = SealedStack()
    stack.enclaves[0] = EnclaveDouble(
        clock=stack.clock, root=stack.root, profile="off", lifetime_s=600
    )
    verifier = CountingVerifier(stack.verifier, life_s=86_400)
    client = client_for(stack, verifier=verifier)
    ask(client)
    stack.clock.at += 600
    stack.enclave.restart()
    ask(client)
    assert len(set(verifier.documents)) == 2
    assert len(stack.posts) == 2  # none went out to the old key


def test_a_failed_check_later_on_stops_the_requests(stack):
    client = client_for(stack)
    ask(client)
    stack.clock.at += 3600
    stack.enclave.collector = SealedStack().enclave.collector
    with pytest.raises(AttestationError):
        ask(client)
    assert len(stack.posts) == 1


def test_a_refused_replica_is_not_used_and_does_not_take_the_others_away():
    stack = SealedStack(replicas=3)
    for number in (0, 2):
        stack.enclaves[number].collector = SealedStack().enclave.collector
    client = client_for(stack)
    for _ in range(3):
        assert ask(client).status_code == 200
    assert [len(e.requests) for e in stack.enclaves] == [0, 3, 0]


def test_a_verdict_about_another_document_is_refused(stack):
    class Confused:
        def verify(self, raw_evidence, *, document, manifest, nonce, at):
            verdict = stack.verifier.verify(
                raw_evidence, document=document, manifest=manifest, nonce=nonce, at=at
            )
            return dataclasses.replace(verdict, document_sha256=bytes(32))

    with pytest.raises(BindingError):
        ask(client_for(stack, verifier=Confused()))
    assert stack.posts == []


def test_an_enclave_for_another_authority_is_not_used(stack):
    document = stack.enclave.document
    stack.enclave.document = KeyDocument.build(
        key_configs=document.key_configs,
        not_before=document.not_before,
        not_after=document.not_after,
        manifest_sha256=document.manifest_sha256,
        boot_id=document.boot_id,
        usage_key=document.usage_key,
        authorities=["other.invalid"],
    )
    with pytest.raises(KeyConfigError):
        ask(client_for(stack))
    assert stack.posts == []


def test_no_replica_at_all_is_a_503(stack):
    stack.enclaves.clear()
    answer = ask(client_for(stack))
    assert (answer.status_code, code_of(answer)) == (503, "no_enclave")


@pytest.mark.parametrize(
    "options", [{"verifier": None}, {"policy": object()}], ids=["neither", "both"]
)
def test_exactly_one_of_policy_and_verifier_is_needed(stack, options):
    with pytest.raises(ConfigError):
        transport_for(stack, **options)


# --- single flight -------------------------------------------------------------------------


def test_fifty_threads_share_one_verification(stack):
    verifier = CountingVerifier(stack.verifier)
    client = client_for(stack, verifier=verifier)
    start = threading.Barrier(50)
    statuses = []

    def one():
        start.wait(10)
        statuses.append(ask(client).status_code)

    threads = [threading.Thread(target=one) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 50
    assert len(verifier.nonces) == 1


async def test_fifty_tasks_share_one_verification(stack):
    verifier = CountingVerifier(stack.verifier)
    async with async_client(stack, verifier) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(verifier.nonces) == 1


async def test_fifty_tasks_share_one_refusal(stack):
    verifier = CountingVerifier(SealedStack().verifier)
    async with async_client(stack, verifier) as client:
        errors = await asyncio.gather(*(ask(client) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(error, AttestationError) for error in errors)
    assert len(verifier.nonces) == 1


async def test_a_caller_that_gives_up_while_verifying_does_not_stop_the_others(stack):
    verifier = CountingVerifier(stack.verifier)
    held, entered = asyncio.Event(), asyncio.Event()

    async def slow(request):
        if request.url.path == KEYS:
            entered.set()
            await held.wait()
        return stack.handle(request)

    stack.transport.handler = slow
    async with async_client(stack, verifier) as client:
        first = asyncio.create_task(ask(client))
        await entered.wait()
        second = asyncio.create_task(ask(client))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        held.set()
        assert (await second).status_code == 200


def async_client(stack, verifier):
    transport = AsyncEncryptedTransport(
        stack.url,
        api_key="ck_test",
        verifier=verifier,
        transport=stack.transport,
        clock=stack.clock,
    )

    # httpx2.MockTransport never suspends, so tasks would run one after the other.
    handler = stack.transport.handler

    async def yielding(request):
        await asyncio.sleep(0)
        answer = handler(request)
        return await answer if asyncio.iscoroutine(answer) else answer

    stack.transport.handler = yielding
    return httpx2.AsyncClient(transport=transport, base_url="https://confide.invalid")


# --- sending again -------------------------------------------------------------------------


def test_an_enclave_that_restarted_is_verified_again_and_the_request_succeeds(stack):
    verifier = CountingVerifier(stack.verifier)
    client = client_for(stack, verifier=verifier)
    ask(client)
    stack.enclave.restart()
    assert ask(client).status_code == 200
    assert len(set(verifier.documents)) == 2
    assert len(stack.enclave.requests) == 2


def test_a_rejected_key_is_tried_again_exactly_once(stack):
    stack.refusals = [Refusal.of("ohttp-key", 400)] * 5
    with pytest.raises(KeyConfigError):
        ask(client_for(stack))
    assert len(stack.posts) == 2
    assert stack.fetches.count(KEYS) == 2


def test_what_is_sent_again_is_sealed_anew(stack):
    stack.refusals = [Refusal.of("ohttp-key", 400)]
    ask(client_for(stack))
    first, second = (post.content for post in stack.posts)
    assert first[7:1127] != second[7:1127]


def test_a_rejected_key_is_not_used_again_even_if_verifying_anew_fails(stack):
    client = client_for(stack)
    ask(client)
    stack.refusals = [Refusal.of("ohttp-key", 400)]

    def down(request):
        if request.url.path == KEYS:
            raise httpx2.ConnectError("refused")

    stack.before = down
    with pytest.raises(TransportError):
        ask(client)
    with pytest.raises(TransportError):
        ask(client)
    assert len(stack.posts) == 2  # the last one was not even sent


def test_concurrent_rejections_of_one_key_lead_to_one_verification(stack):
    verifier = CountingVerifier(stack.verifier)
    transport = transport_for(stack, verifier=verifier)
    transport.verify()
    session = transport.sessions.pick()
    rejected = [renew(transport.sessions, session) for _ in range(2)]
    stack.enclave.restart()
    for flow in rejected:
        Driver(stack.transport, transport.outer, threading.Lock(), None).run(flow)
    assert len(verifier.nonces) == 2  # one at first, one for both rejections


def test_a_replica_that_is_gone_hands_over_to_the_next_verified_one():
    stack = SealedStack(replicas=2)
    client = client_for(stack)
    stack.refusals = [Refusal.of("no-enclave", 503)]
    assert ask(client).status_code == 200
    assert [len(e.requests) for e in stack.enclaves] == [0, 1]
    assert stack.fetches.count(KEYS) == 1
    ask(client)
    assert [len(e.requests) for e in stack.enclaves] == [0, 2]


def test_a_replica_that_is_too_busy_hands_over_to_the_next_one_and_stays_verified():
    stack = SealedStack(replicas=2)
    client = client_for(stack)
    stack.refusals = [Refusal.of("enclave-busy", 503)]
    assert ask(client).status_code == 200
    assert [len(e.requests) for e in stack.enclaves] == [0, 1]
    assert ask(client).status_code == 200
    assert stack.fetches.count(KEYS) == 1
    assert [len(e.requests) for e in stack.enclaves] == [1, 1]


def test_if_every_replica_is_too_busy_each_was_asked_once():
    stack = SealedStack(replicas=2)
    stack.refusals = [Refusal.of("enclave-busy", 503)] * 9
    answer = ask(client_for(stack))
    assert (answer.status_code, code_of(answer)) == (503, "enclave_busy")
    assert len(stack.posts) == 2
    assert stack.fetches.count(KEYS) == 1


def test_if_every_replica_is_gone_the_directory_is_asked_once_more():
    stack = SealedStack(replicas=2)
    stack.refusals = [Refusal.of("no-enclave", 503)] * 9
    answer = ask(client_for(stack))
    assert (answer.status_code, code_of(answer)) == (503, "no_enclave")
    assert len(stack.posts) == 2
    assert stack.fetches.count(KEYS) == 2


def test_a_replica_that_came_back_with_new_keys_is_found(stack):
    client = client_for(stack)
    ask(client)
    stack.enclave.restart()
    stack.refusals = [Refusal.of("no-enclave", 503)]
    assert ask(client).status_code == 200


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal.of("upstream-failed", 502),
        Refusal.of("enclave-lost", 502),
        Refusal.of("ledger-unavailable", 503),
        Refusal.of("overloaded", 503),
        Refusal(503, b"<html>", {"content-type": "text/html"}),
        Refusal(503, b"", {}),
        Refusal.of("rate-limited", 429),
        Refusal.of("invalid-api-key", 401),
        Refusal(302, b"", {"location": "https://elsewhere.example"}),
        Refusal(204, b"", {}),
    ],
)
def test_no_other_refusal_is_sent_again(refusal):
    stack = SealedStack(replicas=2)
    stack.refusals = [refusal]
    answer = ask(client_for(stack))
    assert answer.status_code >= 400
    assert answer.headers["x-confide-origin"] == "gateway"
    assert len(stack.posts) == 1


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (httpx2.ConnectError("refused"), "unreachable"),
        (httpx2.ReadTimeout("late"), "timeout"),
        (httpx2.RemoteProtocolError("no answer"), "cut-off"),
        (httpx2.ReadError("reset"), "cut-off"),
        (httpx2.WriteError("reset"), "cut-off"),
    ],
)
def test_a_request_that_may_have_been_processed_is_never_sent_again(raised, code):
    stack = SealedStack(replicas=2)
    stack.refusals = [raised]
    with pytest.raises(TransportError) as caught:
        ask(client_for(stack))
    assert caught.value.code == code
    assert isinstance(caught.value, httpx2.TransportError)
    assert len(stack.posts) == 1


def test_a_refused_date_is_a_hint_about_the_clock_and_is_not_sent_again(stack):
    stack.refusals = [Refusal.of("date", 400)]
    with pytest.raises(ReplayError) as caught:
        ask(client_for(stack))
    assert "clock" in caught.value.hint
    assert len(stack.posts) == 1


# --- answers -------------------------------------------------------------------------------


def test_the_request_carries_a_date_by_the_clients_clock(stack):
    stack.clock.at = 1_800_000_000.9
    ask(client_for(stack))
    headers = dict(stack.enclave.requests[0].headers)
    assert headers[b"date"] == b"Fri, 15 Jan 2027 08:00:00 GMT"
    assert headers[b"confide-document"] == stack.enclave.document.sha256_hex.encode()


def test_lengths_are_padded_as_the_document_says():
    lengths = []
    for body in (b"{}", b'{"a":"%s"}' % (b"x" * 2000)):
        stack = SealedStack(profile="bucket")
        ask(client_for(stack), body)
        lengths.append(len(stack.posts[0].content))
    assert lengths[0] == lengths[1]


def test_a_success_that_is_not_sealed_is_a_failure(stack):
    stack.answer_headers = {"content-type": "application/json"}
    answer = ask(client_for(stack))
    assert (answer.status_code, code_of(answer)) == (502, "media_type")
    assert b"hello" not in answer.content


@pytest.mark.parametrize("path", [KEYS, "evidence"])
def test_documents_of_another_media_type_are_refused(stack, path):
    def other(request):
        answer = stack.handle(request)
        if path in request.url.path:
            answer.headers["content-type"] = "text/html"
        return answer

    stack.transport.handler = other
    answer = ask(client_for(stack))
    assert (answer.status_code, code_of(answer)) == (502, "media_type")
    assert stack.posts == []


def test_a_directory_that_is_too_long_is_not_read_to_its_end(stack):
    pieces = Stream(bytes(1 << 20) for _ in range(64))

    def endless(request):
        return httpx2.Response(200, headers={"content-type": DIRECTORY}, stream=pieces)

    stack.transport.handler = endless
    with pytest.raises(TransportError) as caught:
        ask(client_for(stack))
    assert caught.value.code == "too-long"
    assert pieces.sent < 64
    assert pieces.closed


def test_a_problem_that_is_too_long_is_not_read_to_its_end(stack):
    pieces = Stream(bytes(1 << 14) for _ in range(64))
    relay = stack.handle

    def endless(request):
        if request.method == "GET":
            return relay(request)
        headers = {"content-type": "application/problem+json"}
        return httpx2.Response(500, headers=headers, stream=pieces)

    stack.transport.handler = endless
    assert ask(client_for(stack)).status_code == 500
    assert pieces.sent < 4
    assert pieces.closed


@pytest.mark.parametrize("kept", range(4))
def test_an_answer_cut_after_any_piece_is_truncated(stack, kept):
    stack.enclave.model = lambda request: Inner(
        headers=((b"content-type", b"text/event-stream"),), pieces=[b"data: a\n\n", b"data: b\n\n"]
    )
    stack.tamper = lambda pieces: list(pieces)[:kept]
    with pytest.raises(StreamTruncated):
        ask(client_for(stack))
    assert len(stack.posts) == 1


def test_a_connection_that_breaks_inside_an_answer_is_truncated(stack):
    def breaking(pieces):
        yield from list(pieces)[:1]
        raise httpx2.ReadError("reset")

    stack.tamper = breaking
    with pytest.raises(StreamTruncated):
        ask(client_for(stack))


def test_an_answer_that_stops_coming_is_a_timeout_and_not_a_cut(stack):
    def stopping(pieces):
        yield from list(pieces)[:2]
        raise httpx2.ReadTimeout("late")

    stack.tamper = stopping
    with pytest.raises(TransportError) as caught:
        ask(client_for(stack), b'{"stream":true}')
    assert caught.value.code == "timeout"
    assert isinstance(caught.value, httpx2.TimeoutException)


def test_a_connection_that_breaks_after_the_authentic_end_lost_nothing(stack):
    def breaking(pieces):
        yield from pieces
        raise httpx2.ReadError("reset")

    stack.tamper = breaking
    assert ask(client_for(stack), b'{"stream":false}').status_code == 200


def test_an_answer_that_was_changed_does_not_authenticate(stack):
    def flip(pieces):
        whole = bytearray(b"".join(pieces))
        whole[-1] ^= 1
        yield bytes(whole)

    stack.tamper = flip
    with pytest.raises(OpenError):
        ask(client_for(stack))


def test_the_requests_own_ciphertext_is_no_answer(stack):
    stack.tamper = lambda pieces: [stack.posts[0].content]
    with pytest.raises(SealingError):
        ask(client_for(stack))


def test_a_body_over_the_enclaves_limit_is_refused_before_it_is_sealed(stack):
    document = stack.enclave.document
    stack.enclave.document = KeyDocument.build(
        key_configs=document.key_configs,
        not_before=document.not_before,
        not_after=document.not_after,
        manifest_sha256=document.manifest_sha256,
        boot_id=document.boot_id,
        usage_key=document.usage_key,
        max_body=10,
    )
    answer = ask(client_for(stack), bytes(11))
    assert (answer.status_code, code_of(answer)) == (413, "request_too_large")
    assert stack.posts == []


def test_pieces_are_opened_as_they_come_and_closing_stops_the_gateway(stack):
    stack.enclave.model = lambda request: Inner(
        headers=((b"content-type", b"text/event-stream"),),
        pieces=(f"data: {n}\n\n".encode() for n in range(1000)),
    )
    client = client_for(stack)
    with client.stream("POST", "/v1/chat/completions", content=b"{}") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"data: 0\n\n"
        assert next(pieces) == b"data: 1\n\n"
        assert stack.streams[0].sent <= 4
    assert stack.streams[0].closed


def test_the_signed_usage_statement_is_there_after_the_end(stack):
    client = client_for(stack)
    body = b'{"stream":true}'
    with client.stream("POST", "/v1/chat/completions", content=body) as response:
        answer = response.extensions["confide_answer"]
        assert answer.usage is None
        response.read()
    assert answer.usage == "usage.statement"


def test_the_gateways_request_id_is_passed_on_if_it_has_the_form_of_one(stack):
    client = client_for(stack)
    assert ask(client).headers["confide-request-id"] == "01J9Z4T0V5"
    stack.answer_headers["confide-request-id"] = "a b"
    assert "confide-request-id" not in ask(client).headers


def test_connections_of_a_refused_request_are_closed(stack):
    stack.answer_headers = {"content-type": "text/html"}
    ask(client_for(stack))
    assert stack.streams[0].closed


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway.example.org",
        "ftp://gateway.example.org",
        "https://user:secret@gateway.example.org",
        "https://gateway.example.org?x=1",
    ],
)
def test_an_unusable_gateway_url_is_refused_without_repeating_it(stack, url):
    with pytest.raises(ConfigError) as caught:
        EncryptedTransport(url, verifier=stack.verifier)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["ck\n", "ck\x00", "cké"])
def test_an_unusable_api_key_is_refused_without_repeating_it(stack, key):
    with pytest.raises(ConfigError) as caught:
        EncryptedTransport(stack.url, verifier=stack.verifier, api_key=key)
    assert key not in str(caught.value)


def test_a_directory_with_a_broken_replica_still_serves_the_others():
    stack = SealedStack(replicas=2)
    relay = stack.handle

    def broken(request):
        answer = relay(request)
        if request.url.path != KEYS:
            return answer
        good = stack.enclaves[1].replica
        directory = Directory((Replica(b"{}", b"{}", b"{}"), good))
        return httpx2.Response(200, headers={"content-type": DIRECTORY}, content=directory.encode())

    stack.transport.handler = broken
    assert ask(client_for(stack)).status_code == 200
