"""Our own small SDK, blocking and asynchronous."""

import json

import pytest
from tests.doubles.sealed_stack import (
    Inner,
    Refusal,
    SealedStack,
    delta,
    sse,
)

from confide import AsyncClient, Client
from confide.errors import (
    AuthenticationError,
    ContextTooLong,
    EnclaveError,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    NoEnclaveAvailable,
    RateLimited,
    StreamTruncated,
)


@pytest.fixture
def stack():
    return SealedStack()


@pytest.fixture
def client(stack):
    with Client(
        stack.url,
        verifier=stack.verifier,
        api_key="ck_test",
        transport=stack.transport,
        clock=stack.clock,
    ) as client:
        yield client


@pytest.fixture
async def async_client(stack):
    async with AsyncClient(
        stack.url,
        verifier=stack.verifier,
        api_key="ck_test",
        transport=stack.transport,
        clock=stack.clock,
    ) as client:
        yield client


def test_one_question(client, stack):
    assert client.chat("hi", model="m", temperature=0) == "hello world"
    asked = json.loads(stack.enclave.requests[0].body)
    assert asked["messages"] == [{"role": "user", "content": "hi"}]
    assert asked["temperature"] == 0


def test_a_conversation_in_pieces(client):
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert list(client.chat(messages, model="m", stream=True)) == ["hello", " world"]


def test_embeddings_and_models(client):
    assert client.embeddings(["hi"], model="m") == [[0.5, -0.25]]
    assert client.models() == ["m"]


def test_verify_returns_verdicts_and_sends_nothing(client, stack):
    (verdict,) = client.verify()
    assert verdict.simulated
    assert stack.posts == []


async def test_the_async_client_does_the_same(async_client):
    assert await async_client.chat("hi", model="m") == "hello world"
    pieces = [piece async for piece in async_client.chat_stream("hi", model="m")]
    assert pieces == ["hello", " world"]
    assert await async_client.embeddings(["hi"], model="m") == [[0.5, -0.25]]
    assert await async_client.models() == ["m"]
    assert len(await async_client.verify()) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "context_length_exceeded", ContextTooLong),
        (400, "invalid_value", InvalidRequest),
        (404, "model_not_found", ModelNotFound),
        (500, "server_error", EnclaveError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_sealed_errors_are_errors_of_the_enclave(client, stack, status, code, kind, stream):
    error = {"message": "no", "type": "x", "param": "messages", "code": code}
    stack.enclave.model = lambda request: Inner(
        status=status, pieces=[json.dumps({"error": error}).encode()]
    )
    with pytest.raises(kind) as caught:
        list(client.chat("hi", model="m", stream=stream))
    assert (type(caught.value), caught.value.status) == (kind, status)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal.of("invalid-api-key", 401), AuthenticationError),
        (Refusal.of("no-enclave", 503), NoEnclaveAvailable),
        (Refusal.of("upstream-failed", 502), GatewayError),
    ],
)
def test_refusals_of_the_gateway_are_not_errors_of_the_enclave(client, stack, refusal, kind):
    stack.refusals = [refusal, refusal, refusal]
    with pytest.raises(kind) as caught:
        client.chat("hi", model="m")
    assert not isinstance(caught.value, EnclaveError)


def test_a_rate_limit_says_how_long_to_wait(client, stack):
    stack.refusals = [Refusal.of("rate-limited", 429, retry_after_s=7)]
    with pytest.raises(RateLimited) as caught:
        client.chat("hi", model="m")
    assert caught.value.retry_after == 7


def test_an_error_after_the_first_token_is_raised(client, stack):
    stack.enclave.model = lambda request: sse(delta("hello"), '{"error":{"message":"out"}}')
    pieces = client.chat("hi", model="m", stream=True)
    assert next(pieces) == "hello"
    with pytest.raises(EnclaveError):
        next(pieces)


def test_a_cut_stream_is_raised_after_its_genuine_part(client, stack):
    stack.tamper = lambda sealed: list(sealed)[:2]
    pieces = client.chat("hi", model="m", stream=True)
    assert next(pieces) == "hello"
    with pytest.raises(StreamTruncated):
        next(pieces)
