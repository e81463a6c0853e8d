"""Binary HTTP: both framings, limits before copies, refusals of RFC 9292 section 4."""

import json
from pathlib import Path

import pytest

from confide.errors import SealingError
from confide.sealing.bhttp import (
    InnerRequest,
    InnerResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    encode_response_head,
)
from confide.wire.frames import encode_varint

FIELDS = ((b"content-type", b"text/plain"), (b"x-empty", b""), (b"x-empty", b"again"))
REQUEST = InnerRequest("POST", "https", "confide.invalid", "/v1/x", FIELDS, b"body", FIELDS[:1])
RESPONSE = InnerResponse(200, FIELDS, b"body", FIELDS[:1], ((103, FIELDS[:1]), (102, ())))
framings = pytest.mark.parametrize("indeterminate", [False, True])


@framings
@pytest.mark.parametrize("body", [b"", b"x", bytes(20_000)])
@pytest.mark.parametrize("padding", [0, 1, 1000])
def test_messages_round_trip_with_any_padding(indeterminate, body, padding):
    request = InnerRequest("POST", "https", "a", "/", FIELDS, body, FIELDS)
    encoded = encode_request(request, indeterminate=indeterminate) + bytes(padding)
    assert decode_request(encoded) == request
    response = InnerResponse(503, FIELDS, body, FIELDS, ((103, FIELDS),))
    encoded = encode_response(response, indeterminate=indeterminate) + bytes(padding)
    assert decode_response(encoded) == response


@framings
def test_a_request_is_never_taken_for_a_response_and_the_other_way_round(indeterminate):
    with pytest.raises(SealingError):
        decode_response(encode_request(REQUEST, indeterminate=indeterminate))
    with pytest.raises(SealingError):
        decode_request(encode_response(RESPONSE, indeterminate=indeterminate))


@framings
def test_only_empty_parts_may_be_missing_at_the_end(indeterminate):
    encoded = encode_request(REQUEST, indeterminate=indeterminate)
    whole = []
    for end in range(len(encoded)):
        try:
            whole.append((end, decode_request(encoded[:end])))
        except SealingError:
            continue
    # After control data, after headers, after content: nothing of a part is ever cut.
    assert all(request.body in (b"", b"body") for _, request in whole)
    assert all(request.headers in ((), FIELDS) for _, request in whole)
    assert len(whole) == 3


@framings
def test_something_other_than_zeros_after_the_end_is_refused(indeterminate):
    for after in (b"\x01", bytes(10) + b"\x01"):
        with pytest.raises(SealingError):
            decode_request(encode_request(REQUEST, indeterminate=indeterminate) + after)
        with pytest.raises(SealingError):
            decode_response(encode_response(RESPONSE, indeterminate=indeterminate) + after)


BAD_FIELDS = [
    (b"", b"x"),
    (b"Upper", b"x"),
    (b":path", b"/"),
    (b"a b", b"x"),
    (b"a\n", b"x"),
    (b"a\x80", b"x"),
    (b"a", b"x\r\ny: z"),
    (b"a", b"x\x00"),
    (b"a", b" x"),
    (b"a", b"x\t"),
    (b"a", b" "),
]


@pytest.mark.parametrize("field", BAD_FIELDS, ids=repr)
def test_a_field_that_http_2_forbids_is_neither_written_nor_read(field):
    with pytest.raises(SealingError):
        encode_request(InnerRequest("GET", "https", "a", "/", (field,)))
    with pytest.raises(SealingError):
        encode_response_head(200, (field,))
    name, value = field
    line = encode_varint(len(name)) + name + encode_varint(len(value)) + value
    known = b"\x00\x03GET\x05https\x01a\x01/" + encode_varint(len(line)) + line
    with pytest.raises(SealingError):
        decode_request(known)
    if name:  # an empty name is the terminator there
        with pytest.raises(SealingError):
            decode_request(b"\x02\x03GET\x05https\x01a\x01/" + line + b"\x00")


def test_bytes_above_ascii_are_allowed_in_values():
    request = InnerRequest("GET", "https", "a", "/", ((b"a", "é".encode()),))
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize(
    "control",
    [
        ("", "https", "a", "/"),
        ("GE T", "https", "a", "/"),
        ("GET", "", "a", "/"),
        ("GET", "ht tp", "a", "/"),
        ("GET", "https", "a b", "/"),
        ("GET", "https", "a", ""),
        ("GET", "https", "a", "/x\r\n"),
        ("GET", "https", "a", "/é"),
        ("G" * 65, "https", "a", "/"),
    ],
    ids=repr,
)
def test_control_data_http_forbids_is_neither_written_nor_read(control):
    with pytest.raises(SealingError):
        encode_request(InnerRequest(*control))
    encoded = b"\x00" + b"".join(encode_varint(len(one.encode())) + one.encode() for one in control)
    with pytest.raises(SealingError):
        decode_request(encoded)


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, 16384])
def test_a_status_that_is_not_final_is_not_written(status):
    with pytest.raises(SealingError):
        encode_response(InnerResponse(status))
    with pytest.raises(SealingError):
        encode_response_head(status, ())


@pytest.mark.parametrize("status", [0, 99, 600, 16384])
def test_a_status_out_of_range_is_not_read(status):
    with pytest.raises(SealingError):
        decode_response(b"\x01" + encode_varint(status) + b"\x00\x00\x00")


def test_an_informational_status_out_of_range_is_not_written():
    with pytest.raises(SealingError):
        encode_response(InnerResponse(200, informational=((200, ()),)))


@framings
def test_informational_responses_are_bounded(indeterminate):
    many = InnerResponse(200, informational=((103, ()),) * 17)
    with pytest.raises(SealingError) as caught:
        decode_response(encode_response(many, indeterminate=indeterminate))
    assert caught.value.code == "too-large"


@framings
def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not(indeterminate):
    request = InnerRequest("POST", "https", "a", "/", (), bytes(100))
    encoded = encode_request(request, indeterminate=indeterminate)
    assert decode_request(encoded, max_body=100) == request
    with pytest.raises(SealingError) as caught:
        decode_request(encoded, max_body=99)
    assert caught.value.code == "too-large"


@framings
def test_fields_over_the_limit_are_refused(indeterminate):
    request = InnerRequest("GET", "https", "a", "/", ((b"a", bytes(50).replace(b"\0", b"x")),) * 10)
    encoded = encode_request(request, indeterminate=indeterminate)
    assert decode_request(encoded, max_fields=1000) == request
    with pytest.raises(SealingError) as caught:
        decode_request(encoded, max_fields=200)
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x00\x03GET\x05https\x01a\x01/" + encode_varint(1 << 40),
        b"\x00\x03GET\x05https\x01a\x01/\x00" + encode_varint(1 << 60),
        b"\x02\x03GET\x05https\x01a\x01/\x00" + encode_varint(1 << 60),
        b"\x02\x03GET\x05https\x01a\x01/" + encode_varint(1 << 60),
        b"\x00" + encode_varint(1 << 60),
    ],
)
def test_a_declared_length_over_the_limit_is_refused_without_its_bytes(encoded):
    with pytest.raises(SealingError) as caught:
        decode_request(encoded)
    assert caught.value.code == "too-large"


def test_the_chunks_of_a_body_are_joined():
    encoded = b"\x02\x03GET\x05https\x01a\x01/\x00" + b"\x01a\x02bc\x00\x00"
    assert decode_request(encoded).body == b"abc"


def test_a_header_is_found_by_its_first_value():
    assert REQUEST.header(b"x-empty") == b""
    assert REQUEST.header(b"absent") is None


def test_messages_show_no_content_when_printed():
    request = InnerRequest("POST", "https", "a", "/", ((b"k", b"CANARY"),), b"CANARY")
    response = InnerResponse(200, ((b"k", b"CANARY"),), b"CANARY")
    assert "CANARY" not in f"{request!r}{response!r}"


VECTORS = Path(__file__).parents[2] / "vectors" / "crypto" / "bhttp_rfc9292.json"


@pytest.mark.parametrize(
    "vector", json.loads(VECTORS.read_text())["vectors"], ids=lambda v: v["name"]
)
def test_the_examples_of_the_standard_are_written_byte_for_byte(vector):
    encoded = bytes.fromhex(vector["hex"])
    indeterminate = encoded[0] >= 2
    if encoded[0] in (0, 2):
        again = encode_request(decode_request(encoded), indeterminate=indeterminate)
    else:
        again = encode_response(decode_response(encoded), indeterminate=indeterminate)
    assert again.rstrip(b"\x00") == encoded.rstrip(b"\x00")
