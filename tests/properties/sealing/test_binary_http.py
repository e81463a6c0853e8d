"""Binary HTTP messages round trip, and no bytes make the decoders fail in a way of their own."""

from hypothesis import given
from hypothesis import strategies as st

from confide.errors import SealingError
from confide.sealing.bhttp import (
    InnerRequest,
    InnerResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from confide.sealing.bhttp_stream import ResponseBody, ResponseDecoder, ResponseHead

names = st.from_regex(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
values = st.binary(max_size=40).map(lambda value: value.translate(None, b"\x00\r\n").strip(b" \t"))
fields = st.lists(st.tuples(names, values), max_size=5).map(tuple)
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
requests = st.builds(
    InnerRequest,
    method=st.from_regex(r"[A-Z]{1,10}", fullmatch=True),
    scheme=st.sampled_from(["https", "http"]),
    authority=visible,
    path=visible.map(lambda text: "/" + text),
    headers=fields,
    body=st.binary(max_size=300),
    trailers=fields,
)
responses = st.builds(
    InnerResponse,
    status=st.integers(200, 599),
    headers=fields,
    body=st.binary(max_size=300),
    trailers=fields,
    informational=st.lists(st.tuples(st.integers(100, 199), fields), max_size=3).map(tuple),
)
paddings = st.integers(0, 50).map(bytes)


@given(requests, st.booleans(), paddings)
def test_requests_round_trip(request, indeterminate, padding):
    encoded = encode_request(request, indeterminate=indeterminate)
    assert decode_request(encoded + padding) == request


@given(responses, st.booleans(), paddings)
def test_responses_round_trip(response, indeterminate, padding):
    encoded = encode_response(response, indeterminate=indeterminate)
    assert decode_response(encoded + padding) == response


def streamed(encoded, cuts):
    decoder, events, at = ResponseDecoder(), [], 0
    for end in [*sorted(cut % (len(encoded) + 1) for cut in cuts), len(encoded)]:
        events += decoder.feed(encoded[at:end])
        at = end
    return events, decoder.finish()


@given(responses, st.lists(st.integers(0, 2000), max_size=10), paddings)
def test_the_incremental_decoder_agrees_with_the_whole_one(response, cuts, padding):
    events, end = streamed(encode_response(response, indeterminate=True) + padding, cuts)
    assert events[0] == ResponseHead(response.status, response.headers)
    assert all(isinstance(event, ResponseBody) and event.content for event in events[1:])
    assert b"".join(event.content for event in events[1:]) == response.body
    assert end.trailers == response.trailers


def refuses_cleanly(encoded):
    for decode in (decode_request, decode_response, lambda e: streamed(e, [3, 9])):
        try:
            decode(encoded)
        except SealingError:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(encoded):
    refuses_cleanly(encoded)


@given(st.integers(0, 3), st.binary(max_size=200))
def test_any_bytes_after_a_framing_indicator_are_decoded_or_refused(framing, encoded):
    refuses_cleanly(bytes((framing,)) + encoded)


@given(requests | responses, st.booleans(), st.data())
def test_a_changed_message_is_decoded_or_refused(message, indeterminate, data):
    encode = encode_request if isinstance(message, InnerRequest) else encode_response
    changed = bytearray(encode(message, indeterminate=indeterminate))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    refuses_cleanly(bytes(changed))
    refuses_cleanly(bytes(changed[: data.draw(st.integers(0, len(changed)))]))
