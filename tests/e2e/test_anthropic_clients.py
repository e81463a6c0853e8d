"""Unmodified Anthropic clients work, streamed or not, through the proxy."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from langchain_anthropic import ChatAnthropic
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.serving import serving
from tests.stacks import ECHO

from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

QUESTION = [{"role": "user", "content": "alpha beta gamma delta"}]
TOOL = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
EVENTS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop"]


@pytest.fixture
def client(stack):
    with Anthropic(base_url=stack.proxy_url, api_key="anything", max_retries=0) as made:
        yield made


def ask(client, model="echo", **fields):
    return client.messages.create(
        **{"model": model, "max_tokens": 50, "messages": QUESTION, **fields}
    )


def test_a_message_is_answered_whole(client):
    answer = ask(client, system="Be brief.")
    assert answer.content[0].text == "alpha beta gamma delta"
    assert (answer.stop_reason, answer.role, answer.type) == ("end_turn", "assistant", "message")
    assert answer.id.startswith("msg_")
    assert answer.usage.input_tokens == 6
    assert answer.usage.output_tokens == 4
    assert answer._request_id


def test_a_message_is_streamed_in_anthropics_events(client):
    with client.messages.stream(model="slow", max_tokens=50, messages=QUESTION) as stream:
        kinds = [event.type for event in stream if event.type in (*EVENTS, "message_delta")]
        final = stream.get_final_message()
    assert kinds == [*EVENTS[:2], *["content_block_delta"] * 4, EVENTS[3], "message_delta"]
    assert final.content[0].text == "alpha beta gamma delta"
    assert final.usage.output_tokens == 4
    assert final.usage.input_tokens == 4


def test_a_limit_and_a_stop_string_end_an_answer_by_their_names(client):
    cut = ask(client, max_tokens=2)
    assert (cut.content[0].text, cut.stop_reason) == ("alpha beta", "max_tokens")
    stopped = ask(client, stop_sequences=["gamma"])
    assert stopped.content[0].text.strip() == "alpha beta"
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "gamma")


@pytest.mark.parametrize("stream", [False, True])
def test_the_embedded_engine_names_the_stop_string_it_met(client, stream):
    turns = [{"role": "user", "content": "Hello"}]
    fields = {"messages": turns, "extra_body": {"temperature": 0}}
    said = ask(client, "demo-tiny", **fields).content[0].text
    word = said.split()[-1]
    asked = {"model": "demo-tiny", "max_tokens": 50, "stop_sequences": [word], **fields}
    if stream:
        with client.messages.stream(**asked) as events:
            found = events.get_final_message()
    else:
        found = client.messages.create(**asked)
    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", word)
    assert said.startswith(found.content[0].text)


@pytest.mark.parametrize("model", ["echo", "demo-tiny"])
def test_a_tool_is_called_and_its_result_goes_back(client, model):
    question = 'call get_weather {"city": "Geneva"}'
    if model == "demo-tiny":
        question = "What is the weather in Geneva?"
    turns = [{"role": "user", "content": question}]
    called = ask(client, model, messages=turns, tools=[TOOL])
    assert called.stop_reason == "tool_use"
    (use,) = [block for block in called.content if block.type == "tool_use"]
    assert use.name == "get_weather"
    assert isinstance(use.input, dict)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "12 degrees"}
    turns += [{"role": "assistant", "content": called.content}]
    turns += [{"role": "user", "content": [result, {"type": "text", "text": "and now?"}]}]
    answered = ask(client, model, messages=turns, tools=[TOOL])
    assert answered.content
    assert model == "demo-tiny" or answered.content[0].text == "and now?"


def test_a_forced_call_is_streamed(client):
    with client.messages.stream(
        model="demo-tiny",
        max_tokens=60,
        messages=[{"role": "user", "content": "What is the weather in Geneva?"}],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": "get_weather"},
    ) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert final.content[-1].name == "get_weather"
    assert final.content[-1].input


def test_tokens_are_counted_by_the_models_own_tokenizer(client):
    counted = client.messages.count_tokens(model="demo-tiny", messages=QUESTION, system="Be brief.")
    used = ask(client, "demo-tiny", system="Be brief.", max_tokens=1).usage.input_tokens
    assert counted.input_tokens == used
    with_tools = client.messages.count_tokens(model="demo-tiny", messages=QUESTION, tools=[TOOL])
    assert with_tools.input_tokens > used
    assert client.messages.count_tokens(model="echo", messages=QUESTION).input_tokens == 4


def test_models_are_listed_in_the_dialect_that_asks(client, stack):
    names = {model.id for model in client.models.list()}
    assert {"demo-tiny", "echo", "slow"} <= names
    assert client.models.retrieve("echo").type == "model"
    plain = httpx2.get(f"{stack.proxy_url}/v1/models").json()
    assert plain["object"] == "list"


def test_the_credential_may_be_a_bearer_token(stack):
    with Anthropic(base_url=stack.proxy_url, auth_token="anything") as bearer:
        assert ask(bearer).content


async def test_the_async_client_streams_and_does_not(stack):
    async with AsyncAnthropic(base_url=stack.proxy_url, api_key="anything") as client:
        asked = {"model": "echo", "max_tokens": 50, "messages": QUESTION}
        whole = await client.messages.create(**asked)
        assert "gamma" in whole.content[0].text
        async with client.messages.stream(**asked) as stream:
            assert "delta" in "".join([text async for text in stream.text_stream])


def test_langchain_works_through_the_proxy(stack):
    model = ChatAnthropic(model="echo", base_url=stack.proxy_url, api_key="anything")
    assert "gamma" in model.invoke("alpha beta gamma").content
    assert "gamma" in "".join(part.text for part in model.stream("alpha beta gamma"))


def test_the_npm_client_works_streamed_and_not(stack, node_modules):
    run = subprocess.run(
        ["node", str(Path(__file__).with_name("anthropic_client.mjs"))],
        env={
            **os.environ,
            "ANTHROPIC_BASE_URL": stack.proxy_url,
            "ANTHROPIC_API_KEY": "anything",
            "CONFIDE_NODE_MODULES": str(node_modules),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["whole"] == said["streamed"] == "alpha beta gamma delta"
    assert said["events"] > 5
    assert (said["stop"], said["tool"]) == ("end_turn", "get_weather")
    assert said["counted"] > 4
    assert said["unknown"]["status"] == 404
    assert said["unknown"]["type"] == "not_found_error"
    assert said["unknown"]["id"]


def test_an_image_reaches_the_engine_as_data(start_stack):
    double = OpenAIDouble()
    with serving(double.application()) as url:
        stack = start_stack(
            BackendChoice("openai_http", ("tiny-vllm",), {"base_url": f"{url}/v1"}), ECHO
        )
        with Anthropic(base_url=stack.proxy_url, api_key="anything") as client:
            content = [{"type": "image", "source": PNG}, {"type": "text", "text": "What is it?"}]
            answer = ask(client, "tiny-vllm", messages=[{"role": "user", "content": content}])
            assert answer.content[0].text
            with pytest.raises(anthropic.APIStatusError) as refusal:
                client.messages.count_tokens(model="tiny-vllm", messages=QUESTION)
            assert refusal.value.status_code == 501
    (asked,) = [json.loads(body) for body in double.bodies if b"messages" in body]
    assert asked["messages"][0]["content"][0]["image_url"]["url"] == (
        "data:image/png;base64,iVBORw0KGgo="
    )


# Errors


def refused(client, **fields):
    with pytest.raises(anthropic.APIStatusError) as refusal:
        ask(client, **fields)
    body = refusal.value.body
    assert body["type"] == "error"
    assert body["request_id"] == refusal.value.response.headers["request-id"]
    assert "Traceback" not in json.dumps(body)
    return refusal.value.status_code, body["error"]["type"]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_anthropics_status_and_type(client, stream):
    assert refused(client, model="absent", stream=stream) == (404, "not_found_error")
    assert refused(client, max_tokens=0, stream=stream) == (400, "invalid_request_error")
    huge = [{"role": "user", "content": "x" * (33 << 20)}]
    assert refused(client, messages=huge, stream=stream) == (413, "request_too_large")


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_malformed_json_is_a_400(stack, body):
    answer = httpx2.post(f"{stack.proxy_url}/v1/messages", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_another_version_of_the_api_is_refused(stack):
    answer = httpx2.post(
        f"{stack.proxy_url}/v1/messages", json={}, headers={"anthropic-version": "1999-01-01"}
    )
    assert answer.status_code == 400
    assert "anthropic-version" in answer.json()["error"]["message"]


def test_a_wrong_key_is_an_authentication_error(stack, start_stack):
    own = start_stack(ECHO, proxy={"api_key_file": None})
    with Anthropic(base_url=own.proxy_url, api_key="ck_wrong", max_retries=0) as client:
        assert refused(client) == (401, "authentication_error")
    with Anthropic(base_url=own.proxy_url, api_key=own.api_key, max_retries=0) as client:
        assert ask(client).content


def test_a_gateway_that_is_down_is_an_error_with_a_reason(start_stack):
    stack = start_stack(ECHO)
    stack.children["gateway"].kill()
    with Anthropic(base_url=stack.proxy_url, api_key="x", max_retries=0) as client:
        assert refused(client) == (503, "api_error")


def test_leaving_a_stream_stops_the_backend(start_stack):
    double = OpenAIDouble(words=("word ",) * 2000, token_delay_s=0.02)
    with serving(double.application()) as url:
        stack = start_stack(
            BackendChoice("openai_http", ("tiny-vllm",), {"base_url": f"{url}/v1"}), ECHO
        )
        with (
            Anthropic(base_url=stack.proxy_url, api_key="x") as client,
            client.messages.stream(model="tiny-vllm", max_tokens=4000, messages=QUESTION) as stream,
        ):
            next(iter(stream.text_stream))
        left = time.monotonic()
        while not double.cancelled:
            assert time.monotonic() - left < 0.25
            time.sleep(0.005)
