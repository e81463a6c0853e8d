"""The events of a streamed message; each point here was a bug in some translator."""

import json

import pytest
from tests.unit.dialects.anthropic.streams import (
    MESSAGE_ID,
    blocks_of,
    call,
    chunk,
    events_of,
    message_of,
    request_for,
    sse,
    translated,
    usage,
)

from confide.dialects.anthropic import PING, MessageStream
from confide.errors import StreamTruncated

LONG = "mcp__" + "a" * 90
END = chunk({}, "stop")


def kinds(events):
    return [event["type"] for event in events]


def test_an_answer_of_text_has_these_events():
    events = translated(
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        END,
        usage(),
    )
    assert kinds(events) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    message = message_of(events)
    assert message["id"] == MESSAGE_ID
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert message["stop_reason"] == "end_turn"


def test_no_block_is_opened_before_there_is_something_in_it():
    stream = MessageStream(request_for(), MESSAGE_ID)
    written = stream.feed(sse(chunk({"role": "assistant", "content": ""}), done=False))
    assert kinds(events_of(written)) == ["message_start"]
    written = stream.feed(sse(chunk({"content": "x"}), done=False))
    assert kinds(events_of(written)) == ["content_block_start", "content_block_delta"]


def test_a_chunk_with_text_and_the_reason_to_end_loses_nothing():
    message = message_of(translated(chunk({"content": "all"}, "length"), usage()))
    assert message["content"] == [{"type": "text", "text": "all"}]
    assert message["stop_reason"] == "max_tokens"


def test_a_chunk_with_thought_text_and_a_whole_call_becomes_three_blocks():
    delta = {
        "reasoning_content": "hm",
        "content": "Look:",
        "tool_calls": [call(0, '{"a":1}', name="f", identity="call_1")],
    }
    thinking, text, tool = blocks_of(chunk(delta, "tool_calls"))
    assert (thinking["thinking"], text["text"]) == ("hm", "Look:")
    assert thinking["signature"]
    assert tool == {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}


def test_parallel_calls_that_come_in_turns_become_blocks_in_a_row():
    events = translated(
        chunk({"tool_calls": [call(0, "", name="f", identity="call_a")]}),
        chunk({"tool_calls": [call(1, "", name="g", identity="call_b")]}),
        chunk({"tool_calls": [call(0, '{"x":'), call(1, '{"y":')]}),
        chunk({"tool_calls": [call(1, "2}"), call(0, '"}"}')]}),
        chunk({}, "tool_calls"),
    )
    first, second = message_of(events)["content"]
    assert (first["name"], first["input"]) == ("f", {"x": "}"})
    assert (second["name"], second["input"]) == ("g", {"y": 2})


def test_the_next_call_is_streamed_as_soon_as_the_one_before_it_is_whole():
    stream = MessageStream(request_for(), MESSAGE_ID)
    stream.feed(sse(chunk({"tool_calls": [call(0, '{"x":1}', name="f")]}), done=False))
    written = stream.feed(sse(chunk({"tool_calls": [call(1, '{"y"', name="g")]}), done=False))
    assert kinds(events_of(written)) == [
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]


def test_text_after_a_call_that_is_not_whole_waits_for_its_turn():
    tool, text = blocks_of(
        chunk({"tool_calls": [call(0, '{"x"', name="f")]}),
        chunk({"content": "later"}),
        chunk({"tool_calls": [call(0, ":1}")]}),
        END,
    )
    assert (tool["input"], text["text"]) == ({"x": 1}, "later")


def test_calls_that_share_an_index_are_told_apart_by_their_ids():
    found = blocks_of(
        chunk({"tool_calls": [call(0, '{"a":1}', name="f", identity="call_1")]}),
        chunk({"tool_calls": [call(0, '{"b":2}', name="f", identity="call_2")]}),
        chunk({}, "tool_calls"),
    )
    assert [(block["id"], block["input"]) for block in found] == [
        ("toolu_1", {"a": 1}),
        ("toolu_2", {"b": 2}),
    ]


def test_a_call_without_arguments_has_no_delta_and_one_without_id_gets_one():
    events = translated(
        chunk({"tool_calls": [call(0, "", name="f")]}), chunk({}, "tool_calls"), usage()
    )
    assert "content_block_delta" not in kinds(events)
    (tool,) = message_of(events)["content"]
    assert tool["input"] == {}
    assert tool["id"].startswith("toolu_")


def test_a_shortened_name_comes_back_whole():
    tool = {"name": LONG, "input_schema": {}}
    request = request_for(tools=[tool])
    short = json.loads(request.body)["tools"][0]["function"]["name"]
    (block,) = blocks_of(chunk({"tool_calls": [call(0, "{}", name=short)]}), END, request=request)
    assert block["name"] == LONG


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_an_answer_with_a_call_stops_for_the_tool_whatever_the_engine_says(reason):
    chunks = (chunk({"tool_calls": [call(0, "{}", name="f")]}), chunk({}, reason))
    assert message_of(translated(*chunks))["stop_reason"] == "tool_use"


def test_a_call_cut_by_the_limit_says_so():
    chunks = (chunk({"tool_calls": [call(0, '{"a"', name="f")]}), chunk({}, "length"))
    assert translated(*chunks)[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_matched_stop_string_is_named():
    request = request_for(stop_sequences=["END"])
    events = translated(
        chunk({"content": "x"}), chunk({}, "stop", stop_reason="END"), request=request
    )
    assert events[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    other = translated(chunk({}, "stop", stop_reason=2), request=request)
    assert other[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_usage_after_the_end_is_in_the_one_message_delta():
    events = translated(chunk({"content": "x"}), END, usage(prompt=10, completion=3, cached=4))
    assert kinds(events).count("message_delta") == 1
    assert events[-2]["usage"] == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 3,
    }
    assert events[0]["message"]["usage"]["input_tokens"] == 0


def test_nothing_follows_the_end():
    stream = MessageStream(request_for(), MESSAGE_ID)
    stream.feed(sse(END) + sse(chunk({"content": "more"})))
    assert stream.feed(sse(chunk({"content": "more"}))) == b""
    assert stream.finish() == b""
    assert stream.fail(StreamTruncated(1)) == b""


def test_an_answer_without_content_is_a_message():
    assert message_of(translated(END, usage()))["content"] == []


def test_a_thinking_block_is_signed_before_it_closes():
    events = translated(chunk({"reasoning": "a"}), chunk({"content": "b"}), END)
    assert [
        event["delta"]["type"] for event in events if "content_block_delta" in event["type"]
    ] == [
        "thinking_delta",
        "signature_delta",
        "text_delta",
    ]


def test_thinking_is_hidden_from_those_who_turned_it_off():
    request = request_for(thinking={"type": "disabled"})
    found = blocks_of(chunk({"reasoning": "a"}), chunk({"content": "b"}), END, request=request)
    assert [block["type"] for block in found] == ["text"]


def test_a_refusal_is_text_and_a_reason():
    message = message_of(translated(chunk({"refusal": "I cannot."}), END))
    assert message["content"] == [{"type": "text", "text": "I cannot."}]
    assert message["stop_reason"] == "refusal"


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_stream_that_stops_before_its_end_is_an_error(cut):
    chunks = (chunk({"content": "a"}), chunk({"content": "b"}))[:cut]
    events = translated(*chunks, done=False)
    assert events[-1]["type"] == "error"
    assert "message_stop" not in kinds(events)
    assert "message_delta" not in kinds(events)


def test_an_error_event_of_the_engine_becomes_anthropics():
    error = {"error": {"message": "the model engine failed", "code": "backend_failed"}}
    events = translated(chunk({"content": "a"}), error, chunk({"content": "b"}))
    assert events[-1] == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "the model engine failed",
            "code": "backend_failed",
        },
        "request_id": None,
    }


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b"data: 1\n\n", b"data: " + b"[" * 99999 + b"\n\n"]
)
def test_an_event_that_cannot_be_read_ends_the_message_with_an_error(data):
    stream = MessageStream(request_for(), MESSAGE_ID)
    assert events_of(stream.feed(data))[-1]["type"] == "error"
    assert stream.failed


def test_a_cut_seal_is_an_error_that_says_so():
    stream = MessageStream(request_for(), MESSAGE_ID)
    stream.feed(sse(chunk({"content": "a"}), done=False))
    (event,) = events_of(stream.fail(StreamTruncated(3)))
    assert event["error"]["code"] == "stream_truncated"


def test_a_ping_is_an_event_of_its_own():
    assert events_of(PING) == [{"type": "ping"}]
