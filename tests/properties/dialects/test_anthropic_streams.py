"""Whatever a model says and however the bytes are cut, the events are Anthropic's."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dialects.anthropic.streams import (
    MESSAGE_ID,
    call,
    chunk,
    events_of,
    message_of,
    request_for,
    sse,
    usage,
)

from confide.dialects.anthropic import MessageStream, translate_answer, translate_request
from confide.dialects.anthropic.ids import call_id, tool_use_id
from confide.dialects.anthropic.open_blocks import ObjectEnd
from confide.dialects.anthropic.tools import short_name

TEXT = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)


@st.composite
def pieces(draw, text):
    """The text, cut into pieces; some may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def answers(draw):
    """A thought, a text, calls; and the chunks of a stream in which the calls come mixed."""
    thought, text = draw(TEXT), draw(TEXT)
    inputs = draw(st.lists(OBJECTS, max_size=4))
    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk({"reasoning_content": one}) for one in draw(pieces(thought))]
    chunks += [chunk({"content": one}) for one in draw(pieces(text))]
    waiting = []
    for index, value in enumerate(inputs):
        head = call(index, "", name=f"f{index}", identity=f"call_{index}")
        parts = [call(index, one) for one in draw(pieces(json.dumps(value)))]
        waiting.append([head, *parts])
    heads_first = draw(st.booleans())
    if heads_first:
        chunks += [chunk({"tool_calls": [parts.pop(0) for parts in waiting]})] if waiting else []
    while any(waiting):
        # A call is announced before the ones after it; its arguments may come at any time.
        started = [n for n, parts in enumerate(waiting) if parts]
        free = [n for n in started if heads_first or _announced(waiting, inputs, n)]
        chunks.append(chunk({"tool_calls": [waiting[draw(st.sampled_from(free))].pop(0)]}))
    chunks += [chunk({}, "tool_calls" if inputs else "stop"), usage()]
    return thought, text, inputs, chunks


def _announced(waiting, inputs, number):
    """Whether every call before this one has been announced."""
    return all("id" not in (parts[0] if parts else {}) for parts in waiting[:number])


@st.composite
def cuts_of(draw, content):
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=12)))
    return [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]


@given(st.data())
def test_the_events_do_not_depend_on_where_the_bytes_were_cut(data):
    *_, chunks = data.draw(answers())
    content = sse(*chunks)
    whole = MessageStream(request_for(), MESSAGE_ID)
    cut = MessageStream(request_for(), MESSAGE_ID)
    pieces = data.draw(cuts_of(content))
    assert b"".join([cut.feed(piece) for piece in pieces]) == whole.feed(content)
    assert whole.ended
    assert cut.ended


@given(answers())
def test_the_order_is_valid_and_the_message_is_that_of_the_whole_answer(answer):
    thought, text, inputs, chunks = answer
    stream = MessageStream(request_for(), MESSAGE_ID)
    streamed = message_of(events_of(stream.feed(sse(*chunks))))
    calls = [
        {"id": f"call_{n}", "function": {"name": f"f{n}", "arguments": json.dumps(value)}}
        for n, value in enumerate(inputs)
    ]
    message = {"reasoning_content": thought, "content": text, "tool_calls": calls}
    choice = {"message": message, "finish_reason": "tool_calls" if inputs else "stop"}
    body = json.dumps({"choices": [choice], "usage": usage()["usage"]}).encode()
    assert streamed == json.loads(translate_answer(body, request_for(), MESSAGE_ID))


@given(st.data())
def test_a_stream_cut_anywhere_is_never_taken_for_a_whole_one(data):
    *_, chunks = data.draw(answers())
    content = sse(*chunks[:-2], done=False)
    stream = MessageStream(request_for(), MESSAGE_ID)
    written = stream.feed(content[: data.draw(st.integers(0, len(content)))]) + stream.finish()
    kinds = [event["type"] for event in events_of(written)]
    assert kinds[-1] == "error"
    assert "message_stop" not in kinds


@given(st.binary(max_size=200))
def test_no_bytes_make_the_translator_fail_otherwise_than_with_an_error_event(noise):
    stream = MessageStream(request_for(), MESSAGE_ID)
    written = stream.feed(b"data: " + noise + b"\n\n") + stream.finish()
    assert events_of(written)[-1]["type"] in ("error", "message_stop")


@given(OBJECTS, st.data())
def test_the_end_of_an_object_is_found_at_its_last_character(value, data):
    written = json.dumps(value)
    end = ObjectEnd()
    for piece in data.draw(pieces(written[:-1])):
        end.feed(piece)
    assert not end.reached
    end.feed(written[-1])
    assert end.reached


@given(st.text(min_size=1, max_size=40))
def test_an_engines_id_survives_the_way_to_the_client_and_back(identity):
    assert call_id(tool_use_id(identity)) == identity


@given(st.lists(st.text(min_size=1, max_size=130), unique=True, max_size=6))
def test_short_names_are_valid_and_differ(names):
    short = [short_name(name) for name in names]
    assert all(len(name) <= 64 for name in short)
    assert all(
        name.isascii() and name.replace("_", "a").replace("-", "a").isalnum() for name in short
    )
    assert len(set(short)) == len(names)


@given(OBJECTS, TEXT)
def test_an_answer_sent_back_reaches_the_model_as_it_was(value, text):
    original = {"id": "chatcmpl-tool-1", "type": "function",
                "function": {"name": "f", "arguments": json.dumps(value)}}  # fmt: skip
    choice = {"message": {"content": text, "tool_calls": [original]}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    message = json.loads(translate_answer(body, request_for(), MESSAGE_ID))
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": message["content"]}]
    asked = {"model": "m", "max_tokens": 1, "messages": turns}
    again = json.loads(translate_request(json.dumps(asked).encode()).body)["messages"][1]
    (call_again,) = again["tool_calls"]
    assert call_again["id"] == original["id"]
    assert json.loads(call_again["function"]["arguments"]) == value
    assert (again["content"] or "") == text
