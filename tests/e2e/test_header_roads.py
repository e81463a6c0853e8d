"""Headers of real clients, through the whole stack, to a server that writes them down."""

from __future__ import annotations

import json

import openai
import pytest
from anthropic import Anthropic
from tests.doubles.scripted_server import Script, ScriptedServer, sse
from tests.e2e.openai_roads import ROADS, openai_over
from tests.stacks import ECHO, options

from confide.local import Home, Stack
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}],
}
TOLD = (
    ("x-ratelimit-remaining-tokens", "41"),
    ("openai-processing-ms", "7"),
    ("set-cookie", "engine=1"),
    ("access-control-allow-origin", "*"),
    ("x-request-id", "req_engine"),
)
EXTRA = {
    "OpenAI-Beta": "assistants=v9",
    "X-Feature": "a b; c=d",
    "X-Future-Parameter": '{"on": true}',
}
REFUSED = {
    "Cookie": "marked",
    "X-Api-Key": "marked",
    "Traceparent": "marked",
    "X-Forwarded-For": "marked",
    "X-Request-Id": "marked",
    "OpenAI-Organization": "marked",
    "User-Agent": "marked",
    "Idempotency-Key": "marked",
}


@pytest.fixture(scope="module")
def engine():
    server = ScriptedServer()
    with server.serve() as url:
        server.url = url
        yield server


@pytest.fixture(scope="module")
def served(engine, tmp_path_factory):
    backend = BackendChoice("openai_http", ("m",), {"base_url": engine.url})
    with Stack(Home(tmp_path_factory.mktemp("headers")), options(backend, ECHO)) as running:
        yield running


@pytest.fixture
def whole(engine):
    engine.scripts[PATH] = Script([json.dumps(ANSWER).encode()], headers=TOLD)


@pytest.fixture
def streamed(engine):
    engine.scripts[PATH] = Script(sse(CHUNK, "[DONE]"), "text/event-stream", headers=TOLD)


def assert_chosen(headers):
    """The engine's headers came to the client, but for those that never do."""
    assert headers["x-ratelimit-remaining-tokens"] == "41"
    assert headers["openai-processing-ms"] == "7"
    assert not {"set-cookie", "access-control-allow-origin"} & set(headers)
    assert "req_engine" not in headers.values()


def assert_only(got, sent):
    """The engine saw these headers, and no trace of the client."""
    assert {name: got.get(name.lower()) for name in sent} == sent
    assert "authorization" not in got
    everything = " ".join([*got, *got.values()]).lower()
    for trace in ("marked", "stainless", "openai/", "anthropic/", "anything", "confide"):
        assert trace not in everything


@pytest.mark.parametrize("road", ROADS)
def test_headers_of_the_openai_client_reach_the_engine(road, served, engine, whole):
    with openai_over(road, served) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, extra_headers={**EXTRA, **REFUSED}
        )
    assert answer.parse().choices[0].message.content == "hi"
    assert_only(engine.seen[-1].headers, EXTRA)
    assert_chosen(answer.headers)


@pytest.mark.parametrize("road", ROADS)
def test_a_streamed_answer_brings_headers_too(road, served, engine, streamed):
    with openai_over(road, served) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, stream=True, extra_headers=EXTRA
        )
        text = "".join(event.choices[0].delta.content or "" for event in answer.parse())
    assert text == "hi"
    assert_only(engine.seen[-1].headers, EXTRA)
    assert_chosen(answer.headers)


@pytest.mark.parametrize("road", ROADS)
def test_headers_over_the_bound_are_a_431_and_no_engine_sees_them(road, served, engine, whole):
    before = len(engine.seen)
    with openai_over(road, served) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="m", messages=MESSAGES, extra_headers={"x-long": "v" * 8192}
        )
    assert (caught.value.status_code, caught.value.code) == (431, "headers_too_large")
    assert len(engine.seen) == before


def test_headers_of_the_anthropic_client_reach_the_engine(served, engine, whole):
    extra = {"X-Feature": "a b; c=d", "anthropic-beta": "future-2099-01-01"}
    with Anthropic(base_url=served.proxy_url, api_key="anything", max_retries=0) as client:
        answer = client.messages.with_raw_response.create(
            model="m", max_tokens=9, messages=MESSAGES, extra_headers={**extra, **REFUSED}
        )
    assert answer.parse().content[0].text == "hi"
    got = engine.seen[-1].headers
    assert got.pop("anthropic-beta") == extra["anthropic-beta"]
    assert_only(got, {"X-Feature": extra["X-Feature"]})
    assert "anthropic-version" not in got
    assert_chosen(answer.headers)


def test_a_streamed_message_brings_headers_too(served, engine, streamed):
    with (
        Anthropic(base_url=served.proxy_url, api_key="anything", max_retries=0) as client,
        client.messages.stream(
            model="m", max_tokens=9, messages=MESSAGES, extra_headers={"x-feature": "on"}
        ) as stream,
    ):
        assert stream.get_final_text() == "hi"
        assert_chosen(stream.response.headers)
    assert engine.seen[-1].headers["x-feature"] == "on"
