import asyncio
import json
import time

import ollama
import pytest
from tests.doubles.ollama_server import OllamaDouble, entry
from tests.unit.enclave.inference.inference_bench import (
    chat_request,
    chunks_of,
    finish_of,
    messages,
    read,
    route,
    router_of,
    text_of,
)

from confide.enclave.inference import CatalogEntry, Operation, Usage
from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.backends.ollama import OllamaBackend
from confide.errors import (
    ConfigError,
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
)

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]


@pytest.fixture
def double():
    return OllamaDouble()


@pytest.fixture
async def backend(double):
    with double.serve() as url:
        backend = OllamaBackend("ollama", {"base_url": url})
        await backend.start()
        yield backend
        await backend.stop()


@pytest.fixture
async def router(backend, clock):
    await backend.probe()
    return router_of(backend, clock=clock, entries=[CatalogEntry("tiny", ("ollama",))])


async def ask(router, **fields):
    return await route(router, model="tiny", **fields)


def test_the_real_client_understands_the_double(double):
    with double.serve() as url:
        client = ollama.Client(host=url)
        assert [model.model for model in client.list().models] == ["tiny:latest"]
        answer = client.chat("tiny", messages=messages())
        assert answer.message.content == "one two three"
        assert (answer.prompt_eval_count, answer.eval_count) == (26, 3)
        parts = list(client.chat("tiny", messages=messages(), stream=True))
        assert "".join(part.message.content for part in parts) == "one two three"
        assert client.generate("tiny", prompt="x").response == "one two three"
        assert list(client.embed("tiny", input=["a", "bb"]).embeddings[1]) == [0.25, -0.5, 2.0]
        assert client.show("tiny").details.family == "llama"
        with pytest.raises(ollama.ResponseError):
            client.chat("absent", messages=messages())
        double.calls = (("get_weather", {"city": "Tokyo"}),)
        (call,) = client.chat("tiny", messages=messages(), tools=TOOLS).message.tool_calls
        assert call.function.arguments == {"city": "Tokyo"}
        client._client.close()


# --- translation ----------------------------------------------------------------------------


async def test_a_chat_comes_back_in_openais_shape(router, double):
    answer = await ask(router)
    whole = json.loads(await read(answer))
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "tiny"
    assert whole["choices"][0]["message"]["content"] == "one two three"
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"] == {"prompt_tokens": 26, "completion_tokens": 3, "total_tokens": 29}
    assert answer.usage == Usage(26, 3, "exact")


async def test_a_stream_comes_back_in_openais_shape(router, double):
    answer = await ask(router, stream=True)
    stream = await read(answer)
    chunks = chunks_of(stream)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert text_of(stream) == "one two three"
    assert stream.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in stream
    assert answer.usage == Usage(26, 3, "exact")


async def test_usage_is_in_the_stream_if_asked_for(router):
    stream = await read(await ask(router, stream=True, stream_options={"include_usage": True}))
    assert chunks_of(stream)[-1]["usage"]["total_tokens"] == 29


async def test_fields_are_mapped_and_truncation_is_off(router, double):
    await read(
        await ask(
            router,
            temperature=0,
            top_p=0.5,
            seed=7,
            stop="END",
            max_tokens=12,
            response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
            tools=TOOLS,
            user="somebody",
        )
    )
    (body,) = double.bodies
    assert body["options"] == {
        "temperature": 0, "top_p": 0.5, "seed": 7, "stop": ["END"], "num_predict": 12,
    }  # fmt: skip
    assert body["format"] == {"type": "object"}
    assert body["tools"] == TOOLS
    assert (body["truncate"], body["shift"], body["stream"]) == (False, False, True)
    assert "user" not in body


@pytest.mark.parametrize(
    ("wanted", "sent"), [({"type": "text"}, None), ({"type": "json_object"}, "json"), (None, None)]
)
async def test_response_formats_are_mapped(router, double, wanted, sent):
    await read(await ask(router, response_format=wanted))
    assert double.bodies[0].get("format") == sent


async def test_messages_images_and_calls_are_mapped(router, double):
    history = [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what"},
                {"type": "text", "text": "is this"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a": 1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "7"},
    ]
    await read(await ask(router, messages=history))
    assert double.bodies[0]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "what\nis this", "images": ["QUJD"]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "7", "tool_call_id": "call_1", "tool_name": "f"},
    ]


async def test_tool_calls_come_back_with_ids_and_arguments_as_text(router, double):
    double.calls = (("get_weather", {"city": "Tōkyō"}), ("get_weather", {"city": "Rome"}))
    whole = json.loads(await read(await ask(router, tools=TOOLS)))
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"])["city"] for call in calls] == [
        "Tōkyō",
        "Rome",
    ]
    assert all(call["id"].startswith("call_") for call in calls)
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    stream = await read(await ask(router, tools=TOOLS, stream=True))
    deltas = [
        call
        for chunk in chunks_of(stream)
        for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert [call["index"] for call in deltas] == [0, 1]
    assert finish_of(stream) == "tool_calls"


async def test_reasoning_comes_apart_from_the_answer(router, double):
    double.thinking = "hmm"
    message = json.loads(await read(await ask(router)))["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("hmm", "one two three")
    stream = await read(await ask(router, stream=True))
    assert b'"reasoning":"hmm"' in stream
    assert text_of(stream) == "one two three"


async def test_running_out_of_tokens_is_length(router, double):
    double.done_reason = "length"
    assert finish_of(await read(await ask(router, stream=True))) == "length"


async def test_a_completion_is_raw(router, double):
    answer = await ask(router, operation=Operation.COMPLETIONS, prompt="x", stream=True)
    assert text_of(await read(answer)) == "one two three"
    assert double.paths == ["/api/generate"]
    assert (double.bodies[0]["raw"], double.bodies[0]["prompt"]) == (True, "x")


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_come_back_in_both_encodings(router, double, encoding):
    answer = await ask(
        router, operation=Operation.EMBEDDINGS, input=["a", "bb"], encoding_format=encoding
    )
    found = json.loads(await read(answer))["data"]
    assert [entry["index"] for entry in found] == [0, 1]
    expected = "AACAPgAAAL8AAABA" if encoding == "base64" else [0.25, -0.5, 2.0]
    assert found[1]["embedding"] == expected
    assert double.bodies[0]["truncate"] is False
    assert answer.usage == Usage(8, 0, "exact")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"tool_choice": "required", "tools": TOOLS}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:x,raw"}}],
                    }
                ]
            },
            "messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": "{MARKER"}}],
                    }
                ]
            },
            "messages",
        ),
        ({"options": {"num_ctx": 1}}, "options"),
        ({"keep_alive": -1}, "keep_alive"),
        ({"operation": Operation.EMBEDDINGS, "input": [1, 2]}, "input"),
        ({"operation": Operation.COMPLETIONS, "prompt": ["a", "b"]}, "prompt"),
    ],
)
async def test_what_ollama_cannot_do_is_refused_by_name(router, double, fields, param):
    with pytest.raises(InvalidRequest) as refusal:
        await ask(router, **fields)
    assert refusal.value.param == param
    assert "MARKER" not in str(refusal.value)
    assert double.bodies == []


# --- prompts stay here ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "remote",
    [
        entry("tiny:latest", remote_host="https://ollama.com:443", remote_model="tiny"),
        entry("tiny:cloud"),
        entry("tiny:120b-cloud"),
    ],
)
async def test_a_model_that_runs_elsewhere_is_not_there(backend, double, clock, remote):
    double.models = [remote, entry("other:latest")]
    await backend.probe()
    assert [model.id for model in await backend.models()] == ["other:latest"]
    with pytest.raises(ModelNotFound):
        await backend.open(chat_request(remote["name"]))
    assert double.bodies == []


async def test_a_model_that_moved_away_is_refused_after_the_next_probe(backend, double, router):
    await read(await ask(router))
    double.models = [entry("tiny:latest", remote_host="https://ollama.com:443")]
    await backend.probe()
    with pytest.raises(ModelNotFound):
        await ask(router)


async def test_an_ollama_whose_cloud_is_on_is_not_used(backend, double):
    await backend.probe()
    double.cloud_disabled = False
    with pytest.raises(BackendUnavailable) as refusal:
        await backend.probe()
    assert "OLLAMA_NO_CLOUD=1" in str(refusal.value.hint)
    with pytest.raises(BackendUnavailable):
        await backend.open(chat_request("tiny"))
    assert double.bodies == []


async def test_an_ollama_from_before_the_cloud_is_used(backend, double):
    double.cloud_disabled = None
    await backend.probe()
    await read(await backend.open(chat_request("tiny")))


async def test_nothing_is_sent_before_the_first_probe(backend, double):
    with pytest.raises(BackendUnavailable):
        await backend.open(chat_request("tiny"))
    assert double.bodies == []


def test_an_ollama_on_another_machine_is_refused():
    with pytest.raises(ConfigError):
        OllamaBackend("o", {"base_url": "https://ollama.com"})


# --- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        ((404, "model 'MARKER' not found"), ModelNotFound),
        ((400, "the input length exceeds the context length"), ContextTooLong),
        ((400, "MARKER does not support tools"), InvalidRequest),
        ((400, "MARKER"), InvalidRequest),
        ((500, "MARKER"), ModelUnavailable),
        ((429, "MARKER"), ModelUnavailable),
    ],
)
async def test_refusals_are_named_and_never_quoted(router, double, refusal, error):
    double.refusal = refusal
    with pytest.raises(error) as raised:
        await ask(router)
    assert "MARKER" not in f"{raised.value} {raised.value.__cause__}"


async def test_an_error_in_the_middle_of_a_stream_is_an_error_event(router, double):
    double.fail_after = 2
    answer = await ask(router, stream=True)
    stream = await read(answer)
    assert text_of(stream) == "one two"
    assert chunks_of(stream)[-1]["error"]["code"] == "backend_failed"
    assert b"MARKER" not in stream
    assert answer.outcome == "failed"


@pytest.mark.parametrize("last", [False, True])
async def test_an_error_in_the_middle_of_a_whole_answer_is_an_error(router, double, last):
    double.fail_after, double.error_is_last = 2, last
    with pytest.raises(ModelUnavailable):
        await ask(router)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stream_without_its_last_line_is_an_error(router, double, stream):
    double.omit_done = True
    if not stream:
        with pytest.raises(ModelUnavailable):
            await ask(router)
    else:
        assert chunks_of(await read(await ask(router, stream=True)))[-1]["error"]


async def test_giving_up_reaches_ollama_within_a_quarter_second(router, double):
    double.words, double.token_delay_s = ("x",) * 1000, 0.01
    answer = await ask(router, stream=True)
    await anext(answer.body)
    before = time.monotonic()
    await answer.aclose()
    while double.cancelled == 0:
        assert time.monotonic() - before < 0.25
        await asyncio.sleep(0.002)
