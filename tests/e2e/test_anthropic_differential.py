"""Our translation and llama.cpp's own `/v1/messages` agree, on the same model.

The same requests go to the local stack, which translates, and to a llama.cpp server in this
process, which speaks the dialect itself. Compared are status, order of events, blocks, stop
reasons and token counts; ids differ.
"""

from __future__ import annotations

import json

import httpx2
import pytest
from tests.unit.dialects.anthropic.streams import events_of, message_of

from confide.local.enclave_file import demo_model_path
from confide.local.readiness import free_port

pytestmark = pytest.mark.e2e

TOOLS = [
    {
        "name": "get_weather",
        "description": "Current weather of a city",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]
SAMPLING = {"model": "demo-tiny", "max_tokens": 40, "temperature": 0}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 degrees"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Geneva"}}


def asked(*turns, **fields):
    messages = [{"role": role, "content": content} for role, content in turns]
    return {**SAMPLING, "messages": messages, **fields}


REQUESTS = {
    "text": asked(("user", "Hello")),
    "blocks": asked(("user", [{"type": "text", "text": "Hello"}])),
    "system": asked(("user", "Hello"), system="You are brief."),
    "system blocks": asked(("user", "Hi"), system=[{"type": "text", "text": "You are brief."}]),
    "turns": asked(("user", "Hello"), ("assistant", "Hello!"), ("user", "How are you?")),
    "limit": asked(("user", "Hello"), max_tokens=3),
    "call": asked(("user", "What is the weather in Geneva?"), tools=TOOLS),
    "result": asked(
        ("user", "What is the weather in Geneva?"), ("assistant", [USE]), ("user", [RESULT]),
        tools=TOOLS,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def native():
    """Base URL of a llama.cpp server with the demo model."""
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = str(demo_model_path())
    p.model_alias = {"demo-tiny"}
    p.port = free_port()
    p.n_parallel, p.n_ctx, p.verbosity, p.warmup = 1, 8192, 0, False
    p.cache_prompt, p.cache_ram_mib, p.ui = False, 0, False
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(p)
    yield server.listening_address
    del server


def post(url, body, path="/v1/messages"):
    answer = httpx2.post(f"{url}{path}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def comparable(message):
    """A message without what must differ, or may: ids, and how arguments are spelt."""
    blocks = [
        {name: value for name, value in block.items() if name not in ("id", "signature")}
        for block in message["content"]
    ]
    counts = {name: message["usage"][name] for name in ("input_tokens", "output_tokens")}
    kept = {name: message[name] for name in ("type", "role", "stop_reason", "stop_sequence")}
    return {**kept, "content": blocks, "usage": counts}


@pytest.mark.parametrize("name", REQUESTS)
def test_whole_messages_are_the_same(stack, native, name):
    ours, theirs = (post(url, REQUESTS[name]).json() for url in (stack.proxy_url, native))
    assert comparable(ours) == comparable(theirs)


@pytest.mark.parametrize("name", REQUESTS)
def test_events_have_the_same_order_and_the_same_content(stack, native, name):
    body = {**REQUESTS[name], "stream": True}
    ours, theirs = (events_of(post(url, body).content) for url in (stack.proxy_url, native))
    assert order(ours) == order(theirs)
    mine, other = message_of(ours), message_of(theirs)
    assert [text_of(block) for block in mine["content"]] == [
        text_of(block) for block in other["content"]
    ]
    assert mine["content"]
    assert mine["stop_reason"] == other["stop_reason"]
    assert mine["usage"]["output_tokens"] == other["usage"]["output_tokens"]


def order(events):
    """Kinds of events; deltas of one block in a row count once, since pieces may differ."""
    found = []
    for event in events:
        kind = (event["type"], event.get("index"), event.get("delta", {}).get("type"))
        if not found or found[-1] != kind:
            found.append(kind)
    return found


def text_of(block):
    return json.dumps(block["input"]) + block["name"] if "input" in block else block["text"]


@pytest.mark.parametrize("name", REQUESTS)
def test_counts_are_the_same(stack, native, name):
    body = {key: value for key, value in REQUESTS[name].items() if key not in SAMPLING}
    body["model"] = "demo-tiny"
    path = "/v1/messages/count_tokens"
    ours, theirs = (post(url, body, path).json() for url in (stack.proxy_url, native))
    assert ours == theirs
