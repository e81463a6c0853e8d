"""Chunks of a chat for the tests, and Anthropic's rules for the order of events."""

import json

from confide.dialects.anthropic import MessageStream, translate_request
from confide.dialects.sse import EventParser

MESSAGE_ID = "msg_1"


def request_for(**fields):
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return translate_request(json.dumps({**body, "stream": True, **fields}).encode())


def chunk(delta=None, reason=None, **members):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    choice |= {name: members.pop(name) for name in ("stop_reason",) if name in members}
    return {"id": "chatcmpl-1", "choices": [choice], **members}


def usage(prompt=10, completion=3, cached=0):
    details = {"cached_tokens": cached}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [], "usage": {**counts, "prompt_tokens_details": details}}


def call(index, arguments=None, *, name=None, identity=None):
    function = {} if name is None else {"name": name}
    if arguments is not None:
        function["arguments"] = arguments
    part = {"index": index, "function": function}
    return part if identity is None else {**part, "id": identity, "type": "function"}


def sse(*chunks, done=True):
    written = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)
    return written + (b"data: [DONE]\n\n" if done else b"")


def translated(*chunks, request=None, done=True):
    stream = MessageStream(request or request_for(), MESSAGE_ID)
    return events_of(stream.feed(sse(*chunks, done=done)) + stream.finish())


def events_of(written):
    found = []
    for event in EventParser().feed(written):
        parsed = json.loads(event.data)
        assert parsed["type"] == event.name
        found.append(parsed)
    return found


def message_of(events):
    """What a client puts together; fails if the order of events is not Anthropic's."""
    events = [event for event in events if event["type"] != "ping"]
    assert events[0]["type"] == "message_start"
    message, blocks, is_open = events[0]["message"], [], False
    assert message["content"] == []
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                blocks.append({**event["content_block"], "json": ""})
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(blocks) - 1
                _add(blocks[-1], event["delta"])
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(blocks) - 1
                is_open = False
            case other:
                raise AssertionError(other)
    assert not is_open
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    for block in blocks:
        written = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(written or "{}")
    return {**message, **events[-2]["delta"], "usage": events[-2]["usage"], "content": blocks}


def _add(block, delta):
    kinds = {
        "text_delta": ("text", "text"),
        "thinking_delta": ("thinking", "thinking"),
        "signature_delta": ("signature", "signature"),
        "input_json_delta": ("json", "partial_json"),
    }
    member, source = kinds[delta["type"]]
    assert delta[source]
    block[member] += delta[source]


def blocks_of(*chunks, **options):
    return message_of(translated(*chunks, **options))["content"]
