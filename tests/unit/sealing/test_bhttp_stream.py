"""The incremental decoder gives what it has, refuses what is wrong, and knows an end."""

import pytest

from confide.errors import SealingError
from confide.sealing.bhttp import InnerResponse, encode_response
from confide.sealing.bhttp_stream import (
    ResponseBody,
    ResponseDecoder,
    ResponseEnd,
    ResponseHead,
)
from confide.wire.frames import encode_varint

HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"),)
TRAILERS = ((b"confide-usage", b"x.y"),)
RESPONSE = InnerResponse(200, HEADERS, b"data: 1\n\n", TRAILERS, ((103, ()),))
ENCODED = encode_response(RESPONSE, indeterminate=True)


def test_parts_come_out_as_soon_as_they_are_there():
    decoder = ResponseDecoder()
    head = b"\x03" + encode_varint(200) + b"\x00"
    assert decoder.feed(head) == [ResponseHead(200, ())]
    assert decoder.feed(b"\x05ab") == [ResponseBody(b"ab")]
    assert decoder.feed(b"cde\x01") == [ResponseBody(b"cde")]
    assert decoder.feed(b"f\x00\x00") == [ResponseBody(b"f")]
    assert decoder.finish() == ResponseEnd(())


def test_byte_by_byte_gives_the_same_message():
    decoder, events = ResponseDecoder(b":pad"), []
    for byte in ENCODED + bytes(20):
        events += decoder.feed(bytes((byte,)))
    assert events[0] == ResponseHead(200, HEADERS)
    assert b"".join(event.content for event in events[1:]) == RESPONSE.body
    assert decoder.finish() == ResponseEnd(TRAILERS)


def test_a_message_is_incomplete_at_every_cut_inside_it():
    complete = []
    for end in range(len(ENCODED)):
        decoder = ResponseDecoder()
        decoder.feed(ENCODED[:end])
        if decoder.finish() is not None:
            complete.append(end)
    after_head = (
        len(encode_response(InnerResponse(200, HEADERS, b"", (), ((103, ()),)), indeterminate=True))
        - 2
    )
    after_content = after_head + 1 + len(RESPONSE.body) + 1
    assert complete == [after_head, after_content]


def test_padding_chunks_of_an_event_stream_are_dropped():
    decoder = ResponseDecoder(b":pad ")
    head = b"\x03" + encode_varint(200) + b"\x0ccontent-type\x11text/event-stream\x00"
    decoder.feed(head)
    assert decoder.feed(b"\x07:pad 00\x02ok\x05:pad \x04:pad\x00\x00") == [
        ResponseBody(b"ok"),
        ResponseBody(b":pad"),
    ]


def test_content_of_another_type_is_never_dropped():
    decoder = ResponseDecoder(b":pad ")
    decoder.feed(b"\x03" + encode_varint(200) + b"\x00")
    assert decoder.feed(b"\x07:pad 00") == [ResponseBody(b":pad 00")]


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        (b"\x01", "malformed-message"),
        (b"\x02", "malformed-message"),
        (b"\x03\x40\x63", "malformed-message"),
        (b"\x03\x42\x58", "malformed-message"),
        (b"\x03\x40\xc8\x01A\x00", "malformed-message"),
        (b"\x03\x40\xc8" + encode_varint(1 << 20), "too-large"),
        (b"\x03\x40\xc8\x01a" + encode_varint(1 << 20), "too-large"),
        (b"\x03\x40\xc8\x00\x00\x00\x01", "malformed-message"),
        (b"\x03" + b"\x40\x67\x00" * 17, "too-large"),
    ],
)
def test_what_is_no_answer_is_refused(encoded, code):
    with pytest.raises(SealingError) as caught:
        ResponseDecoder().feed(encoded)
    assert caught.value.code == code


def test_the_field_section_is_bounded_in_total():
    decoder = ResponseDecoder(max_fields=100)
    decoder.feed(b"\x03\x40\xc8")
    with pytest.raises(SealingError) as caught:
        decoder.feed(b"\x04name\x05value" * 20)
    assert caught.value.code == "too-large"


def test_events_show_no_content_when_printed():
    events = [
        ResponseHead(200, ((b"k", b"CANARY"),)),
        ResponseBody(b"CANARY"),
        ResponseEnd(((b"k", b"CANARY"),)),
    ]
    assert "CANARY" not in repr(events)


def test_a_long_value_counts_towards_the_total():
    decoder = ResponseDecoder(max_fields=100)
    decoder.feed(b"\x03\x40\xc8\x01a\x40\x50" + b"x" * 80)
    with pytest.raises(SealingError) as caught:
        decoder.feed(b"\x01b\x14")
    assert caught.value.code == "too-large"
