"""What clients ask of chats and embeddings reaches the engine, and its answer the client."""

from __future__ import annotations

import base64
import json
import struct

import httpx2
import pytest
from tests.doubles.scripted_server import Script, ScriptedServer, sse
from tests.e2e.openai_roads import ROADS, openai_over
from tests.stacks import ECHO, options

from confide.local import Home, Stack
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def engine():
    server = ScriptedServer()
    with server.serve() as url:
        server.url = url
        yield server


@pytest.fixture(scope="module")
def served(engine, tmp_path_factory):
    backend = BackendChoice("openai_http", ("m",), {"base_url": engine.url})
    with Stack(Home(tmp_path_factory.mktemp("coverage")), options(backend, ECHO)) as running:
        yield running


@pytest.fixture(params=ROADS)
def client(request, served):
    with openai_over(request.param, served) as made:
        yield made


def choice(index=0, **message):
    message = {"role": "assistant", "content": None, **message}
    return {"index": index, "message": message, "finish_reason": "stop", "logprobs": None}


def completion(*choices, **fields):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        "usage": USAGE,
        **fields,
    }


def chunk(delta, index=0, finish=None, **fields):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish, **fields}],
    }


def ending():
    return [chunk({}, finish="stop"), {**chunk({}), "choices": [], "usage": USAGE}, "[DONE]"]


def whole(engine, *choices, **fields):
    engine.scripts[PATH] = Script([json.dumps(completion(*choices, **fields)).encode()])


def streamed(engine, *chunks):
    engine.scripts[PATH] = Script(sse(*chunks, *ending()), "text/event-stream")


def ask(client, **fields):
    return client.chat.completions.create(**{"model": "m", "messages": MESSAGES, **fields})


def test_parallel_tool_calls_with_large_interleaved_arguments_arrive_intact(client, engine):
    wanted = [json.dumps({"text": letter * 100_000, "n": n}) for n, letter in enumerate("abc")]
    pieces = [wanted[0][:70_000], wanted[0][70_000:]], [wanted[1]], [wanted[2][:1], wanted[2][1:]]
    chunks = [
        chunk({"tool_calls": [{"index": n, "id": f"call_{n}", "type": "function",
                               "function": {"name": f"tool_{n}", "arguments": ""}}]})
        for n in range(3)
    ]  # fmt: skip
    for turn in range(2):
        for n, parts in enumerate(pieces):
            if turn < len(parts):
                call = {"index": n, "function": {"arguments": parts[turn]}}
                chunks.append(chunk({"tool_calls": [call]}))
    streamed(engine, *chunks)
    arguments, names, largest = {}, {}, 0
    tools = [{"type": "function", "function": {"name": f"tool_{n}"}} for n in range(3)]
    for event in ask(client, tools=tools, parallel_tool_calls=True, stream=True):
        for call in event.choices[0].delta.tool_calls or () if event.choices else ():
            names.setdefault(call.index, call.function.name)
            arguments[call.index] = arguments.get(call.index, "") + call.function.arguments
            largest = max(largest, len(call.function.arguments))
    assert [arguments[n] for n in range(3)] == wanted
    assert names == {0: "tool_0", 1: "tool_1", 2: "tool_2"}
    assert largest >= 64 * 1024
    assert engine.seen[-1].json["parallel_tool_calls"] is True


def test_logprobs_arrive_streamed_and_not(client, engine):
    entry = {"token": "hi", "logprob": -0.25, "bytes": [104, 105],
             "top_logprobs": [{"token": "hi", "logprob": -0.25, "bytes": [104, 105]}]}  # fmt: skip
    found = {"content": [entry], "refusal": None}
    whole(engine, {**choice(content="hi"), "logprobs": found})
    answer = ask(client, logprobs=True, top_logprobs=1)
    assert answer.choices[0].logprobs.content[0].top_logprobs[0].logprob == -0.25
    assert (engine.seen[-1].json["logprobs"], engine.seen[-1].json["top_logprobs"]) == (True, 1)
    streamed(engine, chunk({"content": "hi"}, logprobs=found))
    first = next(iter(ask(client, logprobs=True, stream=True)))
    assert first.choices[0].logprobs.content[0].bytes == [104, 105]


def test_a_schema_for_the_answer_reaches_the_engine_unchanged(client, engine):
    schema = {
        "type": "json_schema",
        "json_schema": {
            "name": "city",
            "strict": True,
            "schema": {"type": "object", "properties": {"z": {"const": 1}, "a": {"pattern": "^ü"}}},
        },
    }
    whole(engine, choice(content='{"z": 1}'))
    answer = ask(client, response_format=schema)
    assert json.loads(answer.choices[0].message.content) == {"z": 1}
    sent = engine.seen[-1].json["response_format"]
    assert json.dumps(sent) == json.dumps(schema), "the order of a schema's fields matters"


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_is_streamed_to_those_who_ask_and_kept_from_others(client, engine, wanted):
    streamed(engine, chunk({"content": "hi"}))
    further = {"stream_options": {"include_usage": True}} if wanted else {}
    events = list(ask(client, stream=True, **further))
    assert engine.seen[-1].json["stream_options"] == {"include_usage": True}
    assert [e.usage.total_tokens for e in events if e.usage] == ([7] if wanted else [])
    assert any(not e.choices for e in events) is wanted


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_arrives_under_the_name_the_engine_gave_it(client, engine, name):
    whole(engine, choice(content="4", **{name: "two and two"}))
    assert getattr(ask(client).choices[0].message, name) == "two and two"
    streamed(engine, chunk({name: "two "}), chunk({name: "and two"}), chunk({"content": "4"}))
    thought = ""
    for event in ask(client, stream=True, reasoning_effort="high"):
        if event.choices:
            thought += getattr(event.choices[0].delta, name, None) or ""
    assert thought == "two and two"
    assert engine.seen[-1].json["reasoning_effort"] == "high"


def test_an_image_reaches_the_engine(client, engine):
    part = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    whole(engine, choice(content="a pixel"))
    ask(client, messages=[{"role": "user", "content": [part, {"type": "text", "text": "?"}]}])
    assert engine.seen[-1].json["messages"][0]["content"][0] == part


def test_several_choices_arrive_each_with_its_index(client, engine):
    whole(engine, choice(0, content="a"), choice(1, content="b"))
    assert [c.message.content for c in ask(client, n=2).choices] == ["a", "b"]
    streamed(engine, chunk({"content": "b"}, 1), chunk({"content": "a"}, 0))
    found = {}
    for event in ask(client, n=2, stream=True):
        for one in event.choices:
            found[one.index] = found.get(one.index, "") + (one.delta.content or "")
    assert found == {0: "a", 1: "b"}
    assert engine.seen[-1].json["n"] == 2


def test_fields_nobody_here_knows_survive_in_both_directions(client, engine):
    strange = {"nested": [1.0, 1e3, None, "ü"], "": {}}
    whole(engine, choice(content="x", odd=strange), a_field=strange, service_tier="next")
    answer = ask(client, extra_body={"a_parameter": strange})
    assert answer.model_extra["a_field"] == strange
    assert answer.choices[0].message.model_extra["odd"] == strange
    assert engine.seen[-1].json["a_parameter"] == strange


def test_a_body_is_the_same_bytes_at_both_ends(served, engine):
    body = b'{ "model":"m",\t"messages":[{"role":"user","content":"\\u00fc"}],"x":1.50,"y":1e+2 }'
    said = b'{"choices": [ ],\n "z": 1.50, "usage": null}'
    engine.scripts[PATH] = Script([said])
    answer = httpx2.post(f"{served.proxy_url}{PATH}", content=body)
    assert engine.seen[-1].body == body
    assert answer.content == said


def test_headers_that_identify_do_not_reach_the_engine_and_do_not_disturb(client, engine):
    whole(engine, choice(content="x"))
    ask(client, extra_headers={"x-unknown": "goes on", "cookie": "c=1", "openai-beta": "b=v2"})
    sent = engine.seen[-1].headers
    assert (sent["x-unknown"], sent["openai-beta"]) == ("goes on", "b=v2")
    assert not {"cookie", "x-stainless-lang"} & sent.keys()
    assert "openai" not in sent.get("user-agent", "").lower()


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_arrive_in_the_encoding_that_was_asked_for(client, engine, encoding):
    numbers = [0.5, -0.25, 3.0]
    packed = base64.b64encode(struct.pack("<3f", *numbers)).decode()
    vector = packed if encoding == "base64" else numbers
    answer = {"object": "list", "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2},
              "data": [{"object": "embedding", "index": 0, "embedding": vector}]}  # fmt: skip
    engine.scripts["/v1/embeddings"] = Script([json.dumps(answer).encode()])
    got = client.embeddings.create(model="m", input="x", encoding_format=encoding, dimensions=3)
    assert got.data[0].embedding == vector
    assert engine.seen[-1].json["encoding_format"] == encoding
    assert engine.seen[-1].json["dimensions"] == 3


def test_the_client_unpacks_embeddings_by_itself(client):
    by_default = client.embeddings.create(model="echo", input="x").data[0].embedding
    as_floats = client.embeddings.create(model="echo", input="x", encoding_format="float")
    assert by_default == pytest.approx(as_floats.data[0].embedding, abs=1e-6)
