"""Unmodified OpenAI clients work, streamed or not, through the proxy and the transport."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx2
import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, NotFoundError, OpenAI

from confide import AsyncEncryptedTransport, EncryptedTransport
from confide.local import simulated_verifier

pytestmark = pytest.mark.e2e

QUESTION = [{"role": "user", "content": "alpha beta gamma delta"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(params=["proxy", "transport"])
def openai_client(request, stack):
    if request.param == "proxy":
        with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything") as client:
            yield client
        return
    transport = EncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    with (
        httpx2.Client(transport=transport) as http_client,
        OpenAI(
            base_url="https://confide.invalid/v1", api_key=stack.api_key, http_client=http_client
        ) as client,
    ):
        yield client


def async_client(stack, road):
    if road == "proxy":
        return AsyncOpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything")
    transport = AsyncEncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    return AsyncOpenAI(
        base_url="https://confide.invalid/v1",
        api_key=stack.api_key,
        http_client=httpx2.AsyncClient(transport=transport),
    )


def test_a_completion_is_answered_whole(openai_client):
    answer = openai_client.chat.completions.create(model="echo", messages=QUESTION)
    assert "gamma" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_a_completion_is_streamed_in_more_than_one_event(openai_client):
    events = list(
        openai_client.chat.completions.create(model="slow", messages=QUESTION, stream=True)
    )
    text = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert "alpha" in text
    assert "delta" in text
    assert len(events) > 3
    assert not any(event.usage for event in events), "usage was not asked for"


def test_usage_is_streamed_to_those_who_ask(openai_client):
    events = list(
        openai_client.chat.completions.create(
            model="echo",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert events[-1].usage.total_tokens > 0


def test_the_embedded_model_answers_and_calls_a_tool(openai_client):
    greeting = openai_client.chat.completions.create(
        model="demo-tiny", messages=[{"role": "user", "content": "Hello"}], temperature=0
    )
    assert greeting.choices[0].message.content.strip()
    called = openai_client.chat.completions.create(
        model="demo-tiny",
        messages=[{"role": "user", "content": "What is the weather in Geneva?"}],
        tools=[TOOL],
        temperature=0,
    )
    call = called.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments), dict)


def test_legacy_completions_and_embeddings_work(openai_client):
    assert openai_client.completions.create(model="echo", prompt="one two").choices[0].text
    found = openai_client.embeddings.create(model="echo", input=["one", "two"])
    assert len(found.data) == 2
    assert len(found.data[0].embedding) > 0


def test_models_are_listed_and_retrieved(openai_client):
    names = {model.id for model in openai_client.models.list()}
    assert {"demo-tiny", "echo", "slow"} <= names
    assert openai_client.models.retrieve("echo").id == "echo"


def test_an_unknown_model_is_the_error_that_openai_gives(openai_client):
    with pytest.raises(NotFoundError) as refusal:
        openai_client.chat.completions.create(model="absent", messages=QUESTION)
    assert refusal.value.code == "model_not_found"


@pytest.mark.parametrize("road", ["proxy", "transport"])
async def test_the_async_client_streams_and_does_not(stack, road):
    async with async_client(stack, road) as client:
        whole = await client.chat.completions.create(model="echo", messages=QUESTION)
        assert "gamma" in whole.choices[0].message.content
        stream = await client.chat.completions.create(model="echo", messages=QUESTION, stream=True)
        text = "".join([e.choices[0].delta.content or "" async for e in stream if e.choices])
        assert "delta" in text


def test_langchain_works_through_the_proxy(stack):
    model = ChatOpenAI(model="echo", base_url=f"{stack.proxy_url}/v1", api_key="anything")
    assert "gamma" in model.invoke("alpha beta gamma").content
    assert "gamma" in "".join(part.content for part in model.stream("alpha beta gamma"))


def test_langchain_works_through_the_transport(stack):
    transport = EncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    with httpx2.Client(transport=transport) as http_client:
        model = ChatOpenAI(
            model="echo",
            base_url="https://confide.invalid/v1",
            api_key=stack.api_key,
            http_client=http_client,
        )
        assert "gamma" in model.invoke("alpha beta gamma").content
        assert "gamma" in "".join(part.content for part in model.stream("alpha beta gamma"))


def test_the_npm_openai_client_works_streamed_and_not(stack, node_modules):
    script = Path(__file__).with_name("openai_client.mjs")
    run = subprocess.run(
        ["node", str(script)],
        env={
            **os.environ,
            "OPENAI_BASE_URL": f"{stack.proxy_url}/v1",
            "OPENAI_API_KEY": "anything",
            "CONFIDE_NODE_MODULES": str(node_modules),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert "gamma" in said["whole"]
    assert "gamma" in said["streamed"]
    assert said["events"] > 3
    assert said["unknown"] == {"status": 404, "code": "model_not_found"}
    assert said["tool"] == "get_weather"
