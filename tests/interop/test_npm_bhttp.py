"""Binary HTTP agrees with the npm package bhttp-js.

bhttp-js encodes known-length messages only and decodes both framings.
"""

import pytest

from confide.sealing.bhttp import (
    InnerRequest,
    InnerResponse,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)

pytestmark = pytest.mark.interop

BODY = b'{"model":"m","messages":[]}' + bytes(range(256)) * 300
HEADERS = ((b"accept", b"text/event-stream"), (b"content-type", b"application/json"))
FRAMINGS = pytest.mark.parametrize("indeterminate", [False, True])


def named(pairs):
    return {name: value for name, value in pairs}


def test_we_decode_a_request_of_the_peer(npm_peer):
    encoded = npm_peer(
        "encode_request",
        method="POST",
        url="https://confide.invalid/v1/chat/completions",
        headers={k.decode(): v.decode() for k, v in HEADERS},
        body=BODY.hex(),
    )["encoded"]
    assert decode_request(bytes.fromhex(encoded)) == InnerRequest(
        "POST", "https", "confide.invalid", "/v1/chat/completions", HEADERS, BODY
    )


def test_we_decode_a_response_of_the_peer(npm_peer):
    encoded = npm_peer(
        "encode_response",
        status=201,
        headers={k.decode(): v.decode() for k, v in HEADERS},
        body=BODY.hex(),
    )["encoded"]
    assert decode_response(bytes.fromhex(encoded)) == InnerResponse(201, HEADERS, BODY)


@FRAMINGS
@pytest.mark.parametrize("padding", [0, 1, 4096])
def test_the_peer_decodes_our_request(npm_peer, indeterminate, padding):
    request = InnerRequest("POST", "https", "confide.invalid", "/v1/models", HEADERS, BODY)
    encoded = encode_request(request, indeterminate=indeterminate) + bytes(padding)
    decoded = npm_peer("decode_request", encoded=encoded.hex())
    assert decoded["method"] == "POST"
    assert decoded["url"] == "https://confide.invalid/v1/models"
    assert named(decoded["headers"]) == {k.decode(): v.decode() for k, v in HEADERS}
    assert decoded["body"] == BODY.hex()


@FRAMINGS
def test_the_peer_decodes_our_response(npm_peer, indeterminate):
    response = InnerResponse(404, HEADERS, BODY, ((b"confide-usage", b"x"),))
    decoded = npm_peer(
        "decode_response", encoded=encode_response(response, indeterminate=indeterminate).hex()
    )
    assert decoded["status"] == 404
    assert named(decoded["headers"]) == {k.decode(): v.decode() for k, v in HEADERS}
    assert decoded["body"] == BODY.hex()
