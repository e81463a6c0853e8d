import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.enclave.inference.events import (
    EventSplitter,
    EventTooLong,
    event_json,
    event_payload,
    write_event,
)

STREAM = (
    b'data: {"a":1}\n\n: ping\n\ndata: one\ndata: two\n\n'
    b'event: x\r\ndata:{"b":"\xc3\xa9"}\r\n\r\ndata: [DONE]\n\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts):
    splitter = EventSplitter()
    places = [0, *sorted(cuts), len(STREAM)]
    events = []
    for start, end in itertools.pairwise(places):
        events += splitter.feed(STREAM[start:end])
    assert events == EventSplitter().feed(STREAM)
    assert b"".join(events) == STREAM
    assert len(events) == 5


def test_an_event_without_its_blank_line_is_not_an_event():
    splitter = EventSplitter()
    assert splitter.feed(b"data: x\n") == []
    assert splitter.rest() == b"data: x\n"


def test_an_endless_event_is_refused():
    splitter = EventSplitter(max_event=1000)
    for _ in range(10):
        splitter.feed(b"x" * 100)
    with pytest.raises(EventTooLong):
        splitter.feed(b"x")


def test_data_lines_are_joined_and_comments_have_none():
    assert event_payload(b"data: one\ndata:two\n\n") == b"one\ntwo"
    assert event_payload(b": ping\n\n") is None


def test_only_objects_are_json():
    assert event_json(write_event({"a": 1})) == {"a": 1}
    assert event_json(b"data: [DONE]\n\n") is None
    assert event_json(b"data: {broken\n\n") is None
