"""Headers of the SDK's caller: sealed, bounded, and nothing of them outside but padded length."""

from __future__ import annotations

import httpx2
import openai
import pytest
from tests.doubles.sealed_stack import Inner, SealedStack

from confide.client import AsyncEncryptedTransport, EncryptedTransport

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
OURS = (b"date", b"confide-document")
URL = "https://confide.invalid/v1/models"


@pytest.fixture
def stack():
    return SealedStack(profile="bucket")


@pytest.fixture
def transport(stack):
    return EncryptedTransport(
        stack.url,
        verifier=stack.verifier,
        transport=stack.transport,
        clock=stack.clock,
        api_key="ck_test",
    )


@pytest.fixture
def sdk(transport):
    return openai.OpenAI(
        base_url="https://confide.invalid/v1",
        api_key="ck_test",
        organization="org-7",
        project="proj-7",
        max_retries=0,
        http_client=httpx2.Client(transport=transport),
    )


def theirs(stack):
    return [line for line in stack.enclave.requests[-1].headers if line[0] not in OURS]


def test_extra_headers_are_sealed_and_the_sdks_own_are_not(stack, sdk):
    extra = {"OpenAI-Beta": "future=v1", "X-Feature": "Mixed Case", "Cookie": "a=b", "X-Token": "t"}
    sdk.chat.completions.create(**ASK, extra_headers=extra)
    assert sorted(theirs(stack)) == [
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"openai-beta", b"future=v1"),
        (b"x-feature", b"Mixed Case"),
    ]


def test_none_of_it_is_outside(stack, sdk):
    sdk.chat.completions.create(**ASK, extra_headers={"x-feature": "marked"})
    (post,) = stack.posts
    outer = {"host", "accept", "authorization", "confide-document", "content-length"}
    assert set(post.headers) == outer | {"content-type", "incremental"}
    assert b"marked" not in post.content
    assert "marked" not in str(post.headers.raw)


def test_repeated_headers_keep_their_order(stack, transport):
    headers = [("x-a", "1"), ("x-b", "2"), ("x-a", "3")]
    transport.handle_request(httpx2.Request("GET", URL, headers=headers)).read()
    assert theirs(stack) == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([(f"x-{n}", "") for n in range(65)], 431, "headers_too_large"),
        ([("x-long", "v" * 8192)], 431, "headers_too_large"),
        ([("x-split", "a\r\nx-other: b")], 400, "header_malformed"),
        ([("x-nul", "a\0b")], 400, "header_malformed"),
        ([("x split", "a")], 400, "header_malformed"),
    ],
)
async def test_headers_that_cannot_be_sealed_are_refused_before_anything_is_sent(
    stack, transport, headers, status, code
):
    asynchronous = AsyncEncryptedTransport(
        stack.url, verifier=stack.verifier, transport=stack.transport, api_key="ck_test"
    )
    request = httpx2.Request("GET", URL, headers=headers)
    for answer in (
        transport.handle_request(request),
        await asynchronous.handle_async_request(request),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.headers["x-confide-origin"] == "client"
    assert stack.posts == stack.fetches == []


def test_the_sdk_raises_its_own_error_and_does_not_retry(stack, sdk):
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.with_options(max_retries=5).chat.completions.create(
            **ASK, extra_headers={"x-long": "v" * 8192}
        )
    assert caught.value.status_code == 431
    assert stack.posts == []


def test_headers_show_in_the_length_of_a_request_as_buckets_only(stack, sdk):
    for extra in ({}, {"x-a": "1"}, {"anthropic-beta": "b" * 1500, "x-c": "d" * 700}):
        sdk.chat.completions.create(**ASK, extra_headers=extra)
    assert len({len(post.content) for post in stack.posts}) == 1
    sdk.chat.completions.create(**ASK, extra_headers={"x-a": "1" * 5000})
    assert len({len(post.content) for post in stack.posts}) == 2


def test_sealed_headers_of_an_answer_reach_the_caller(stack, sdk):
    told = ((b"content-type", b"application/json"), (b"openai-processing-ms", b"7"))
    stack.enclave.model = lambda _: Inner(headers=told, pieces=[b'{"object": "list", "data": []}'])
    answer = sdk.models.with_raw_response.list()
    assert answer.headers["openai-processing-ms"] == "7"
