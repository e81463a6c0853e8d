"""The openai SDK, unmodified, over the sealed transport."""

import httpx2
import openai
import pytest
from tests.doubles.sealed_stack import Refusal, SealedStack

from confide.client import AsyncEncryptedTransport, EncryptedTransport
from confide.errors import (
    AttestationError,
    ConfigError,
    EndorsementError,
    StreamTruncated,
    TransportError,
)

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(params=["off", "bucket"])
def stack(request):
    return SealedStack(profile=request.param)


def sync_sdk(stack, **options):
    transport = EncryptedTransport(
        stack.url, verifier=stack.verifier, transport=stack.transport, clock=stack.clock
    )
    return openai.OpenAI(
        base_url="https://confide.invalid/v1",
        api_key="ck_test",
        http_client=httpx2.Client(transport=transport),
        **options,
    )


def async_sdk(stack, **options):
    transport = AsyncEncryptedTransport(
        stack.url, verifier=stack.verifier, transport=stack.transport, clock=stack.clock
    )
    return openai.AsyncOpenAI(
        base_url="https://confide.invalid/v1",
        api_key="ck_test",
        http_client=httpx2.AsyncClient(transport=transport),
        **options,
    )


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_chat_completion(stack):
    answer = sync_sdk(stack).chat.completions.create(**ASK)
    assert answer.choices[0].message.content == "hello world"
    assert answer._request_id == "01J9Z4T0V5"


def test_a_streamed_chat_completion(stack):
    assert text_of(sync_sdk(stack).chat.completions.create(**ASK, stream=True)) == "hello world"


async def test_a_chat_completion_with_the_async_sdk(stack):
    answer = await async_sdk(stack).chat.completions.create(**ASK)
    assert answer.choices[0].message.content == "hello world"


async def test_a_streamed_chat_completion_with_the_async_sdk(stack):
    stream = await async_sdk(stack).chat.completions.create(**ASK, stream=True)
    assert text_of([chunk async for chunk in stream]) == "hello world"


def test_embeddings_and_models(stack):
    sdk = sync_sdk(stack)
    answer = sdk.embeddings.create(model="m", input="hi", encoding_format="float")
    assert answer.data[0].embedding == [0.5, -0.25]
    assert [model.id for model in sdk.models.list()] == ["m"]


def test_the_gateway_sees_neither_the_sdk_nor_the_question(stack):
    sync_sdk(stack, organization="org-7").chat.completions.create(**ASK)
    (post,) = stack.posts
    assert set(post.headers) == {
        "host",
        "accept",
        "authorization",
        "confide-document",
        "content-length",
        "content-type",
        "incremental",
    }
    assert b"hi" not in post.content.split(b"\x00")
    assert b"messages" not in post.content


def test_the_enclave_sees_no_credential_and_nothing_that_identifies(stack):
    sync_sdk(stack, organization="org-7").chat.completions.create(**ASK)
    (inner,) = stack.enclave.requests
    assert {name for name, _ in inner.headers} == {
        b"date",
        b"confide-document",
        b"content-type",
        b"accept",
    }
    assert (inner.scheme, inner.authority) == ("https", "confide.invalid")


def test_a_refused_enclave_is_a_connection_error_whose_cause_says_why(stack):
    other = SealedStack()
    sdk = openai.OpenAI(
        base_url="https://confide.invalid/v1",
        api_key="ck_test",
        max_retries=0,
        http_client=httpx2.Client(
            transport=EncryptedTransport(
                stack.url, verifier=other.verifier, transport=stack.transport, clock=stack.clock
            )
        ),
    )
    with pytest.raises(openai.APIConnectionError) as caught:
        sdk.chat.completions.create(**ASK)
    assert isinstance(caught.value.__cause__, EndorsementError)
    assert isinstance(caught.value.__cause__, httpx2.TransportError)
    assert stack.posts == []


def test_the_sdk_cannot_make_us_ask_a_refused_enclave_again(stack, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the SDK's pause between tries
    other = SealedStack()
    transport = EncryptedTransport(
        stack.url, verifier=other.verifier, transport=stack.transport, clock=stack.clock
    )
    sdk = openai.OpenAI(
        base_url="https://confide.invalid/v1",
        api_key="ck_test",
        http_client=httpx2.Client(transport=transport),
    )
    with pytest.raises(openai.APIConnectionError) as caught:
        sdk.chat.completions.create(**ASK)
    assert isinstance(caught.value.__cause__, AttestationError)
    assert stack.fetches.count("/.well-known/confide/keys") == 1


def test_a_cut_stream_is_not_a_normal_end(stack):
    stack.tamper = lambda pieces: list(pieces)[:2]
    stream = sync_sdk(stack).chat.completions.create(**ASK, stream=True)
    with pytest.raises(openai.APIConnectionError) as caught:
        list(stream)
    assert isinstance(caught.value.__cause__, StreamTruncated)


async def test_a_cut_stream_is_not_a_normal_end_for_the_async_sdk(stack):
    stack.tamper = lambda pieces: list(pieces)[:2]
    stream = await async_sdk(stack).chat.completions.create(**ASK, stream=True)
    with pytest.raises(openai.APIConnectionError) as caught:
        [chunk async for chunk in stream]
    assert isinstance(caught.value.__cause__, StreamTruncated)


def test_a_cut_answer_is_an_error_and_is_asked_for_only_once(stack, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the SDK's pause between tries
    stack.tamper = lambda pieces: list(pieces)[:-1]
    with pytest.raises(openai.APIConnectionError) as caught:
        sync_sdk(stack).chat.completions.create(**ASK)
    assert isinstance(caught.value.__cause__, StreamTruncated)
    assert len(stack.posts) == 1


def test_a_timeout_is_the_sdks_timeout(stack, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the SDK's pause between tries
    stack.refusals = [httpx2.ReadTimeout("late")]
    with pytest.raises(openai.APITimeoutError) as caught:
        sync_sdk(stack).chat.completions.create(**ASK)
    assert isinstance(caught.value.__cause__, TransportError)
    assert len(stack.posts) == 1


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal.of("invalid-api-key", 401), openai.AuthenticationError),
        (Refusal.of("permission-denied", 403), openai.PermissionDeniedError),
        (Refusal.of("rate-limited", 429, retry_after_s=7), openai.RateLimitError),
        (Refusal.of("upstream-failed", 502), openai.InternalServerError),
    ],
)
def test_refusals_of_the_gateway_are_the_sdks_own_errors(stack, refusal, kind):
    stack.refusals = [refusal]
    with pytest.raises(kind) as caught:
        sync_sdk(stack, max_retries=0).chat.completions.create(**ASK)
    assert caught.value.response.headers["x-confide-origin"] == "gateway"
    assert caught.value.request_id == "01J9Z4T0V5"


def test_the_sdk_waits_and_repeats_after_a_rate_limit(stack, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    stack.refusals = [Refusal.of("rate-limited", 429, retry_after_s=7)]
    answer = sync_sdk(stack).chat.completions.create(**ASK)
    assert answer.choices[0].message.content == "hello world"
    assert waits == [7]


def test_the_sdk_does_not_repeat_what_may_have_been_processed(stack):
    stack.refusals = [Refusal.of("upstream-failed", 502)]
    with pytest.raises(openai.InternalServerError):
        sync_sdk(stack).chat.completions.create(**ASK)
    assert len(stack.posts) == 1


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.openai.com/v1",
        "http://confide.invalid/v1",
        "https://confide.invalid:8443/v1",
        "https://confide.invalid.example.org/v1",
    ],
)
def test_any_other_host_is_refused_before_anything_is_sent(stack, base_url):
    sdk = openai.OpenAI(
        base_url=base_url,
        api_key="ck_test",
        http_client=httpx2.Client(
            transport=EncryptedTransport(
                stack.url, verifier=stack.verifier, transport=stack.transport
            )
        ),
    )
    with pytest.raises(ConfigError) as caught:
        sdk.chat.completions.create(**ASK)
    assert caught.value.code == "wrong-host"
    assert (stack.posts, stack.fetches) == ([], [])
