import json

import pytest
from tests.unit.enclave.inference.inference_bench import (
    chat_request,
    chunks_of,
    echo,
    finish_of,
    messages,
    read,
    text_of,
)

from confide.enclave.inference import Operation, build_backend
from confide.enclave.inference.backend import Backend, BackendUnavailable
from confide.errors import ConfigError, ContextTooLong, InvalidRequest, ModelNotFound

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]


async def whole(backend, **fields):
    return json.loads(await read(await backend.open(chat_request(**fields))))


async def stream(backend, **fields):
    return await read(await backend.open(chat_request(stream=True, **fields)))


async def test_it_says_the_last_user_message_byte_for_byte():
    said = "  an  odd \n message\twith spaces "
    history = [*messages("first"), {"role": "assistant", "content": "x"}, *messages(said)]
    answer = await whole(echo(), messages=history)
    assert answer["choices"][0]["message"]["content"] == said
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert text_of(await stream(echo(), messages=history)) == said


async def test_equal_requests_have_equal_answers():
    assert await stream(echo()) == await stream(echo())


async def test_the_limit_on_tokens_is_kept():
    assert (await whole(echo(), max_tokens=2))["choices"][0]["finish_reason"] == "length"
    cut = await stream(echo(), max_completion_tokens=2)
    assert text_of(cut) == "hello brave"
    assert finish_of(cut) == "length"


async def test_usage_is_in_a_stream_only_if_asked_for():
    assert all("usage" not in chunk for chunk in chunks_of(await stream(echo())))
    last = chunks_of(await stream(echo(), stream_options={"include_usage": True}))[-1]
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


async def test_it_calls_a_tool_that_was_given_when_told_to():
    said = messages('call get_weather {"city": "Geneva"}')
    answer = await whole(echo(), messages=said, tools=TOOLS)
    call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Geneva"})
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert finish_of(await stream(echo(), messages=said, tools=TOOLS)) == "tool_calls"


@pytest.mark.parametrize("said", ["call other {}", "call get_weather {broken}", "please call me"])
async def test_it_calls_nothing_else(said):
    answer = await whole(echo(), messages=messages(said), tools=TOOLS)
    assert answer["choices"][0]["message"]["content"] == said


async def test_a_completion_says_its_prompt():
    request = chat_request(operation=Operation.COMPLETIONS, prompt="abc def")
    answer = json.loads(await read(await echo().open(request)))
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"] == "abc def"


async def test_equal_texts_have_equal_unit_vectors_in_both_encodings():
    import base64
    import struct

    def request(encoding):
        fields = {"input": ["a", "b", "a"], "encoding_format": encoding}
        return chat_request(operation=Operation.EMBEDDINGS, **fields)

    plain = json.loads(await read(await echo().open(request("float"))))
    vectors = [entry["embedding"] for entry in plain["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1)
    packed = json.loads(await read(await echo().open(request("base64"))))
    raw = base64.b64decode(packed["data"][1]["embedding"])
    assert struct.unpack("<32f", raw) == pytest.approx(vectors[1])


async def test_it_makes_as_many_tokens_as_its_options_say():
    text = text_of(await stream(echo(tokens=50)))
    assert len(text.split()) == 50


async def test_generations_are_counted():
    backend = echo()
    await whole(backend)
    answer = await backend.open(chat_request(stream=True))
    assert backend.open_generations == 1
    await anext(answer.body)
    await answer.aclose()
    await answer.aclose()
    assert backend.open_generations == 0
    assert (backend.finished_generations, backend.cancelled_generations) == (1, 1)
    assert "DONE" not in (await read(answer)).decode()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"messages": []}, InvalidRequest),
        ({"messages": ["x"]}, InvalidRequest),
        ({"messages": messages("w " * 20)}, ContextTooLong),
        ({"n": 2}, InvalidRequest),
        ({"model": "other"}, ModelNotFound),
        ({"operation": Operation.COMPLETIONS, "prompt": 5}, InvalidRequest),
        ({"operation": Operation.EMBEDDINGS, "input": {}}, InvalidRequest),
        ({"operation": Operation.EMBEDDINGS, "input": []}, InvalidRequest),
    ],
)
async def test_what_it_cannot_do_it_refuses(fields, error):
    with pytest.raises(error):
        await echo(models=["m"], context_length=10).open(chat_request(**fields))


async def test_it_fails_only_where_its_options_say():
    with pytest.raises(BackendUnavailable):
        await echo(fail="open").open(chat_request())
    with pytest.raises(BackendUnavailable):
        await echo(fail="probe").probe()
    with pytest.raises(BackendUnavailable):
        await stream(echo(fail="midstream"))
    await echo(fail="open").probe()


def test_a_misspelt_option_is_a_config_error_that_names_it():
    with pytest.raises(ConfigError) as refusal:
        echo(token_delay=3)
    assert "token_delay" in str(refusal.value)


@pytest.mark.parametrize("kind", ["echo", "llamacpp", "ollama", "openai_http"])
def test_every_kind_is_built_by_name(kind):
    options = {
        "llamacpp": {"model_path": "/absent.gguf"},
        "openai_http": {"base_url": "http://127.0.0.1:9/v1"},
    }
    backend = build_backend(kind, "x", options.get(kind, {}))
    assert isinstance(backend, Backend)
    assert (backend.kind, backend.name) == (kind, "x")


def test_an_unknown_kind_is_a_config_error():
    with pytest.raises(ConfigError):
        build_backend("absent", "x", {})


async def test_a_stop_string_ends_the_answer_and_is_named():
    answer = await whole(echo(), messages=messages("one two three"), stop=["three", "two"])
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == "one "
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "two")
    streamed = await stream(echo(), messages=messages("one two three"), stop="two")
    assert text_of(streamed) == "one "
    last = [chunk for chunk in chunks_of(streamed) if chunk["choices"]][-1]
    assert last["choices"][0]["stop_reason"] == "two"


async def test_an_answer_without_its_stop_string_names_none():
    for fields in ({}, {"stop": ["absent"]}, {"stop": ["three"], "max_tokens": 1}):
        answer = await whole(echo(), messages=messages("one two three"), **fields)
        assert "stop_reason" not in answer["choices"][0]
