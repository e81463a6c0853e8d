"""The Responses API through the whole stack: real clients, a real engine, a scripted one."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import httpx2
import openai
import pytest
from tests.doubles.scripted_server import Script, ScriptedServer, sse
from tests.e2e import ledger
from tests.e2e.openai_roads import ROADS, openai_over
from tests.stacks import ECHO, demo

from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

PATH = "/v1/responses"
TURNS = [{"role": "user", "content": "Hello"}]


def response(status="completed", **fields):
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1795214088,
        "status": status,
        "error": None,
        "model": "scripted",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "hello world", "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1000,
            "output_tokens": 2000,
            "total_tokens": 3000,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
        "a_field_of_next_year": {"kept": [1.0, 1e3]},
        **fields,
    }


def delta(text, number):
    return {
        "type": "response.output_text.delta",
        "sequence_number": number,
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": text,
        "logprobs": [],
        "a_field_of_next_year": "kept",
    }


def events(last="response.completed"):
    return [
        {"type": "response.created", "sequence_number": 0, "response": response("in_progress")},
        delta("hello", 1),
        # Content that looks like the last event is content.
        delta('{"type":"response.completed"} "error" ', 2),
        {"type": "response.an_event_of_next_year", "sequence_number": 3, "kept": True},
        delta("world", 4),
        {"type": last, "sequence_number": 5, "response": response(last.partition(".")[2])},
    ]


@pytest.fixture(scope="module")
def scripted():
    server = ScriptedServer()
    with server.serve() as url:
        server.url = url
        yield server


@pytest.fixture(scope="module")
def served(scripted, tmp_path_factory):
    from tests.stacks import options

    from confide.local import Home, Stack

    backend = BackendChoice("openai_http", ("scripted",), {"base_url": scripted.url})
    home = Home(tmp_path_factory.mktemp("responses"))
    with Stack(home, options(backend, demo(), ECHO)) as running:
        yield running


@pytest.fixture(params=ROADS)
def client(request, served):
    with openai_over(request.param, served) as made:
        yield made


def completed_statement(stack, before):
    """The statement about a complete answer that came after the ledger had this many.

    Statements of refusals that another test caused may arrive in between.
    """
    deadline = time.monotonic() + 15
    while True:
        new = ledger.statements(stack)[before:]
        # Other tests' answers are small, and their statements may come late too.
        found = [o for o in new if o["outcome"] == "complete" and o["prompt_tokens"] >= 1000]
        if found:
            return found[-1]
        assert time.monotonic() < deadline, new
        time.sleep(0.02)


def test_a_response_arrives_whole_with_fields_that_nobody_here_knows(client, scripted):
    scripted.scripts[PATH] = Script([json.dumps(response()).encode()])
    answer = client.responses.create(
        model="scripted",
        input=TURNS,
        instructions="Be brief.",
        extra_body={"a_parameter_of_next_year": {"x": 1}},
    )
    assert answer.output_text == "hello world"
    assert answer.model_extra["a_field_of_next_year"] == {"kept": [1.0, 1e3]}
    sent = scripted.seen[-1]
    assert sent.path == PATH
    assert sent.json["a_parameter_of_next_year"] == {"x": 1}
    assert sent.json["store"] is False, "an engine has a store too"


def test_a_stream_arrives_event_for_event_and_byte_for_byte(served, scripted):
    pieces = sse(*events())
    scripted.scripts[PATH] = Script(pieces, "text/event-stream")
    body = {"model": "scripted", "input": "Hello", "stream": True}
    answer = httpx2.post(f"{served.proxy_url}{PATH}", json=body)
    assert answer.status_code == 200
    assert answer.content == b"".join(pieces)


def test_the_python_client_reads_every_event_of_a_stream(client, scripted):
    scripted.scripts[PATH] = Script(sse(*events()), "text/event-stream")
    stream = client.responses.create(model="scripted", input=TURNS, stream=True)
    kinds = [event.type for event in stream]
    assert kinds == [event["type"] for event in events()]


def test_each_event_is_flushed_before_the_next_one_exists(served, scripted):
    gates = {number: threading.Event() for number in range(1, 6)}
    scripted.scripts[PATH] = Script(sse(*events()), "text/event-stream", hold=gates)
    with openai_over("proxy", served) as client:
        stream = client.responses.create(model="scripted", input=TURNS, stream=True)
        for number, event in enumerate(stream):  # the next gate opens when this one arrived
            assert event.type == events()[number]["type"]
            if number + 1 in gates:
                gates[number + 1].set()


@pytest.mark.parametrize("streamed", [False, True])
def test_the_usage_of_the_last_event_reaches_the_ledger(served, scripted, streamed):
    pieces = sse(*events()) if streamed else [json.dumps(response()).encode()]
    kind = "text/event-stream" if streamed else "application/json"
    scripted.scripts[PATH] = Script(pieces, kind)
    before = len(ledger.statements(served))
    with openai_over("proxy", served) as client:
        answer = client.responses.create(model="scripted", input=TURNS, stream=streamed)
        if streamed:
            list(answer)
    said = completed_statement(served, before)
    assert said["operation"] == "chat"
    # The default domain's counts are rounded up to buckets.
    assert 1000 <= said["prompt_tokens"] <= 1300
    assert 2000 <= said["completion_tokens"] <= 2600


def test_an_incomplete_response_is_a_regular_end(served, scripted):
    scripted.scripts[PATH] = Script(sse(*events("response.incomplete")), "text/event-stream")
    with openai_over("proxy", served) as client:
        kinds = [e.type for e in client.responses.create(model="scripted", input="x", stream=True)]
    assert kinds[-1] == "response.incomplete"


@pytest.mark.parametrize("how", ["cut", "failed"])
def test_an_engine_that_fails_midway_ends_the_stream_with_an_error(served, scripted, how):
    began = events()[:3]
    if how == "failed":
        failure = {"code": "server_error", "message": "trace of the engine: Hello"}
        failed = response("failed", error=failure)
        began.append({"type": "response.failed", "sequence_number": 3, "response": failed})
    scripted.scripts[PATH] = Script(sse(*began), "text/event-stream")
    body = {"model": "scripted", "input": "Hello", "stream": True}
    answer = httpx2.post(f"{served.proxy_url}{PATH}", json=body)
    assert b"event: error\ndata: " in answer.content
    assert b"trace of the engine" not in answer.content
    with openai_over("proxy", served) as client, pytest.raises(openai.APIError) as refusal:
        list(client.responses.create(model="scripted", input=TURNS, stream=True))
    assert refusal.value.code == "backend_failed"


def test_a_client_that_leaves_ends_the_request_at_the_engine(served, scripted):
    never = threading.Event()
    script = Script(sse(*events()), "text/event-stream", hold={3: never})
    scripted.scripts[PATH] = script
    with openai_over("proxy", served) as client:
        stream = client.responses.create(model="scripted", input=TURNS, stream=True)
        next(iter(stream))
        stream.close()
        assert script.left.wait(5)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
        ({"conversation": "conv_0"}, "conversation"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"input": [{"type": "item_reference", "id": "msg_0"}]}, "input"),
    ],
)
def test_what_would_need_a_store_is_refused_by_name(client, scripted, fields, param):
    before = len(scripted.seen)
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(**{"model": "scripted", "input": TURNS, **fields})
    assert (refusal.value.code, refusal.value.param) == ("not_stored", param)
    assert len(scripted.seen) == before


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "mcp", "server_label": "x", "server_url": "https://example.org/mcp"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
    ],
)
def test_a_tool_that_would_run_at_the_engine_is_refused(client, scripted, tool):
    before = len(scripted.seen)
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(model="scripted", input=TURNS, tools=[tool])
    assert (refusal.value.code, refusal.value.param) == ("tool_unsupported", "tools")
    assert len(scripted.seen) == before


def test_an_image_by_address_is_refused_and_one_by_value_passes(client, scripted):
    def ask(url):
        part = {"type": "input_image", "image_url": url, "detail": "auto"}
        return client.responses.create(
            model="scripted", input=[{"role": "user", "content": [part]}]
        )

    with pytest.raises(openai.BadRequestError):
        ask("http://169.254.169.254/latest")
    scripted.scripts[PATH] = Script([json.dumps(response()).encode()])
    ask("data:image/png;base64,iVBORw0KGgo=")
    assert "data:image/png;base64,iVBORw0KGgo=" in scripted.seen[-1].body.decode()


def test_stored_responses_are_not_found_by_any_method(client):
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as refusal:
            call("resp_0")
        assert refusal.value.code == "not_stored"
    with pytest.raises(openai.NotFoundError):
        list(client.responses.input_items.list("resp_0"))


def test_an_engine_without_the_api_is_a_clear_error(client, scripted):
    scripted.scripts.pop(PATH, None)
    for model in ("echo", "scripted"):
        with pytest.raises(openai.BadRequestError) as refusal:
            client.responses.create(model=model, input=TURNS)
        assert (refusal.value.code, refusal.value.param) == ("operation_unsupported", "model")


def test_the_embedded_engine_answers_and_streams(client):
    whole = client.responses.create(model="demo-tiny", input=TURNS, max_output_tokens=16)
    assert whole.output_text.strip()
    assert whole.usage.input_tokens > 0
    stream = list(
        client.responses.create(model="demo-tiny", input=TURNS, max_output_tokens=16, stream=True)
    )
    assert stream[0].type == "response.created"
    assert stream[-1].type in ("response.completed", "response.incomplete")
    assert stream[-1].response.usage.output_tokens > 0
    assert "".join(e.delta for e in stream if e.type == "response.output_text.delta").strip()


def test_the_npm_client_reads_responses_streamed_and_not(served, scripted, node_modules):
    run = subprocess.run(
        ["node", str(Path(__file__).with_name("openai_responses.mjs"))],
        env={
            **os.environ,
            "OPENAI_BASE_URL": f"{served.proxy_url}/v1",
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
    assert said["whole"].strip()
    assert said["streamed"].strip()
    assert said["last"] in ("response.completed", "response.incomplete")
    assert said["refused"] == {"status": 400, "code": "not_stored", "param": "previous_response_id"}


def test_the_stream_helper_puts_an_answer_of_the_embedded_engine_together(client):
    with client.responses.stream(model="demo-tiny", input="Hi", max_output_tokens=8) as stream:
        said = [event for event in stream]
        final = stream.get_final_response()
    deltas = [event.delta for event in said if event.type == "response.output_text.delta"]
    assert final.output_text == "".join(deltas) != ""
    numbers = [event.sequence_number for event in said]
    assert numbers == sorted(set(numbers))


def test_the_stream_helper_puts_a_call_of_the_embedded_engine_together(client):
    tool = {
        "type": "function",
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    with client.responses.stream(
        model="demo-tiny",
        input="What is the weather in Geneva?",
        tools=[tool],
        tool_choice="required",
        max_output_tokens=60,
    ) as stream:
        whole = [e.arguments for e in stream if e.type == "response.function_call_arguments.done"]
        (call,) = stream.get_final_response().output
    assert call.name == "get_weather"
    assert json.loads(call.arguments) == json.loads(whole[0])
