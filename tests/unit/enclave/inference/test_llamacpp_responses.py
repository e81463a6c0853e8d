"""A streamed response of the engine gets the places that OpenAI's SDKs build on."""

import json

import pytest

from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.backends.llamacpp_responses import placed_events
from confide.enclave.inference.events import event_json

CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": ""}
# As the embedded engine says them: an answer of two items, text and a call.
SAID = [
    {"type": "response.created", "response": {"id": "r", "object": "response"}},
    {"type": "response.output_item.added", "item": {"id": "m", "type": "message", "content": []}},
    {"type": "response.content_part.added", "item_id": "m", "part": {"type": "output_text"}},
    {"type": "response.output_text.delta", "item_id": "m", "delta": "h\u00e9"},
    {"type": "response.output_text.done", "item_id": "m", "text": "h\u00e9"},
    {"type": "response.output_item.done", "item": {"id": "m", "type": "message", "content": []}},
    {"type": "response.output_item.added", "item": CALL},
    {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": "{}"},
    {"type": "response.output_item.done", "item": {**CALL, "arguments": "{}"}},
    {"type": "response.completed", "response": {"id": "r", "output": []}, "timings": {"n": 1.5}},
]


def stream(events):
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


async def placed(content, size=7):
    async def pieces():
        for at in range(0, len(content), size):
            yield content[at : at + size]

    return [event async for event in placed_events(pieces())]


async def test_every_event_is_numbered_and_knows_its_place():
    told = [event_json(event) for event in await placed(stream(SAID))]
    assert [event["sequence_number"] for event in told] == list(range(len(SAID) + 1))
    assert [e["output_index"] for e in told[1:-1]] == [0] * 5 + [1] * 4
    assert [e["content_index"] for e in told if "content_index" in e] == [0, 0, 0]


async def test_what_the_engine_said_stays_as_it_was():
    told = [event_json(event) for event in await placed(stream(SAID))]
    kept = [e for e in told if e["type"] != "response.function_call_arguments.done"]
    assert [{**new, **old} for new, old in zip(kept, SAID, strict=True)] == kept


async def test_the_arguments_of_a_call_are_said_once_as_a_whole():
    told = [event_json(event) for event in await placed(stream(SAID))]
    whole = [e for e in told if e["type"] == "response.function_call_arguments.done"]
    assert [(e["item_id"], e["name"], e["arguments"]) for e in whole] == [("fc_1", "f", "{}")]
    again = [event_json(event) for event in await placed(stream([*SAID[:8], whole[0], *SAID[8:]]))]
    assert len(again) == len(SAID) + 1


@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_where_the_stream_is_cut_changes_nothing(size):
    assert await placed(stream(SAID), size) == await placed(stream(SAID))


@pytest.mark.parametrize(
    "content",
    [b": keep-alive\n\n", b'data: {"error": {"code": 500}}\n\n', b"data: [DONE]\n\n", b"data: {"],
)
async def test_what_is_no_event_of_a_response_passes_unchanged(content):
    assert b"".join(await placed(content)) == content


async def test_an_endless_event_is_refused():
    with pytest.raises(BackendUnavailable):
        await placed(b"data: " + b"x" * (9 * 1024 * 1024), 1024 * 1024)
