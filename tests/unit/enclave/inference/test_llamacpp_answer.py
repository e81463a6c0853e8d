"""Shapes of the embedded engine's answers, from chunks recorded from xllamacpp 2026.10."""

import asyncio
import json

import pytest
from tests.unit.enclave.inference.inference_bench import chunks_of, finish_of, text_of

from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.backends.llamacpp_answer import (
    mended,
    structured_chunks,
    write_chunks,
    write_whole,
)
from confide.enclave.inference.backends.llamacpp_structured import (
    StructuredPlan,
    plan_structured,
    read_tool_call,
)
from confide.enclave.inference.events import write_event

HEAD = {"created": 1795224231, "id": "chatcmpl-1", "model": "demo"}
UNPARSED = {
    "error": {
        "code": 500,
        "message": "The model produced output that does not match the expected peg-native format",
        "type": "server_error",
    }
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def chat(delta, reason=None, **further):
    choice = {"finish_reason": reason, "index": 0, "delta": delta, **further}
    return {"choices": [choice], "object": "chat.completion.chunk", **HEAD}


def text(fresh, reason=None, **further):
    choice = {"text": fresh, "index": 0, "logprobs": None, "finish_reason": reason}
    return {"choices": [choice], "object": "text_completion", **HEAD, **further}


async def pieces(*chunks):
    for chunk in chunks:
        yield write_event(chunk)
    yield b"data: [DONE]\n\n"


async def read(body):
    return b"".join([piece async for piece in body])


BROKEN = [chat({"role": "assistant", "content": None}), chat({"content": "K"}), UNPARSED]


async def test_output_that_the_engine_cannot_parse_ends_a_stream_with_length():
    stream = await read(write_chunks(mended(pieces(*BROKEN))))
    assert text_of(stream) == "K"
    assert finish_of(stream) == "length"
    assert stream.endswith(b"data: [DONE]\n\n")
    assert b"error" not in stream


async def test_output_that_the_engine_cannot_parse_ends_a_whole_answer_with_length():
    answer = json.loads(await read(write_whole(mended(pieces(*BROKEN)))))
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "K"}
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    "chunks",
    [
        [UNPARSED],
        [chat({"content": "x"}), {"error": {"message": "out of memory"}}],
        [chat({"content": "x"})],
        [],
    ],
)
async def test_any_other_failure_stays_a_failure(chunks):
    with pytest.raises(BackendUnavailable):
        await read(write_chunks(mended(pieces(*chunks))))
    with pytest.raises(BackendUnavailable):
        await read(write_whole(mended(pieces(*chunks))))


async def test_chunks_are_put_together():
    token = {"token": "a", "logprob": -0.5}
    answer = json.loads(
        await read(
            write_whole(
                mended(
                    pieces(
                        chat({"role": "assistant", "content": None}),
                        chat({"reasoning_content": "hm"}),
                        chat({"reasoning_content": "m"}),
                        chat({"content": "a"}, logprobs={"content": [token]}),
                        chat({"content": "b"}, logprobs={"content": [token]}),
                        chat({"tool_calls": [{"index": 0, "id": "i", "function": {"name": "f"}}]}),
                        chat({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
                        chat({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
                        chat({"tool_calls": [{"index": 1, "id": "j", "function": {"name": "g"}}]}),
                        chat({}, "tool_calls"),
                        {**HEAD, "choices": [], "usage": USAGE},
                    )
                )
            )
        )
    )
    assert answer.items() >= {**HEAD, "object": "chat.completion", "usage": USAGE}.items()
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["logprobs"]["content"] == [token, token]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("ab", "hmm")
    assert message["tool_calls"][0] == {
        "id": "i", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'},
    }  # fmt: skip
    assert message["tool_calls"][1]["function"] == {"name": "g", "arguments": ""}


async def test_a_completion_becomes_a_chat_with_its_usage_last():
    plan = StructuredPlan({"type": "object"})
    found = pieces(text("{"), text("}"), text("", "stop", usage=USAGE))
    chunks = chunks_of(await read(write_chunks(structured_chunks(found, plan))))
    assert {chunk.get("object") for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], USAGE)
    assert finish_of(await read(write_chunks(structured_chunks(
        pieces(text("{"), text("", "length")), plan)))) == "length"  # fmt: skip


@pytest.mark.parametrize("chunks", [[text("{")], [], [text("{"), {"error": {"message": "x"}}]])
async def test_a_completion_that_fails_is_a_failure(chunks):
    with pytest.raises(BackendUnavailable):
        await read(write_chunks(structured_chunks(pieces(*chunks), StructuredPlan({}))))


@pytest.mark.parametrize(
    ("generated", "name", "arguments", "complete"),
    [
        ('{"name": "f", "arguments": {"a": 1}}', "f", '{"a": 1}', True),
        ('\n{ "name":"f" ,\n"arguments": {"a": "x', "f", '{"a": "x', False),
        ('{"name": "f", "arguments": ', "f", "", False),
        ('{"name": "a\\"b", "arguments": [', 'a"b', "[", False),
    ],
)
def test_a_call_is_read_as_far_as_it_goes(generated, name, arguments, complete):
    call = read_tool_call(generated)
    assert (call.name, call.arguments, call.complete) == (name, arguments, complete)


@pytest.mark.parametrize("generated", ["", "{", '{"name": "f', '{"name": "f", "arg', "[]", "5"])
def test_a_call_without_a_name_is_none(generated):
    assert read_tool_call(generated) is None


def test_definitions_of_each_tool_move_to_the_root_and_references_follow():
    def tool(name, definition):
        parameters = {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/X"}, "y": [{"$ref": "#/definitions/Y"}]},
            "$defs": {"X": definition},
            "definitions": {"Y": {"anyOf": [{"$ref": "#/$defs/X"}]}},
        }
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    tools = [tool("f", {"type": "string"}), tool("g", {"type": "integer"})]
    plan = plan_structured({"tools": tools, "tool_choice": "required"})
    assert plan.schema["$defs"] == {
        "tool0_X": {"type": "string"},
        "tool0_Y": {"anyOf": [{"$ref": "#/$defs/tool0_X"}]},
        "tool1_X": {"type": "integer"},
        "tool1_Y": {"anyOf": [{"$ref": "#/$defs/tool1_X"}]},
    }
    second = plan.schema["anyOf"][1]["properties"]
    assert second["name"] == {"const": "g"}
    assert second["arguments"] == {
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/tool1_X"}, "y": [{"$ref": "#/$defs/tool1_Y"}]},
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"type": "text"}},
        {"tools": [{"function": {"name": "f"}}]},
        {"tools": [{"function": {"name": "f"}}], "tool_choice": "auto"},
        {
            "tools": [{"function": {"name": "f"}}],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": []},
            },
        },
    ],
)
def test_what_forces_nothing_goes_the_engines_own_way(fields):
    assert plan_structured(fields) is None


async def test_leaving_a_stream_early_leaves_no_task_behind():
    body = write_chunks(mended(pieces(*[chat({"content": "x"})] * 5)))
    await anext(body)
    await body.aclose()
    assert len(asyncio.all_tasks()) == 1
