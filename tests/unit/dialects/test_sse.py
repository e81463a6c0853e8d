"""The events of a stream do not depend on where the network cut it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.dialects.sse import Event, EventParser, encode_event

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"data: one\n\n"
    b"event: error\rdata: two\r\rdata:three\r\ndata:  four\r\n\r\n"
    b"id: 7\nretry: 10\n\n"
    b"data\n\n"
    b"data: \xe2\x82\xac\n\n"
    b"data: never closed\n"
)
EVENTS = [
    Event("one"),
    Event("two", "error"),
    Event("three\n four"),
    Event(""),
    Event("€"),
]


def parse(*pieces):
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_a_stream_in_one_piece_gives_its_events():
    assert parse(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cutting_the_stream_anywhere_changes_nothing(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    assert parse(*(STREAM[a:b] for a, b in itertools.pairwise(edges))) == EVENTS


def test_one_byte_at_a_time_gives_the_same_events():
    assert parse(*(bytes([byte]) for byte in STREAM)) == EVENTS


lines = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"))


@given(st.lists(lines, min_size=1, max_size=4), st.none() | st.just("error"))
def test_what_was_encoded_is_parsed(data_lines, name):
    data = "\n".join(data_lines)
    assert parse(encode_event(data, name)) == [Event(data, name or "message")]


def test_a_carriage_return_in_the_data_cannot_forge_a_field():
    assert parse(encode_event("a\rdata: [DONE]\r\n\r\nb")) == [Event("a\ndata: [DONE]\n\nb")]


def test_a_name_with_a_line_break_is_refused():
    with pytest.raises(ValueError):
        encode_event("x", "a\nb")
