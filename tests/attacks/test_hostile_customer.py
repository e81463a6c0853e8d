"""T-08: a customer or a stranger sends hostile bytes to the running gateway and enclave."""

from __future__ import annotations

import json
import os
import socket
import time

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.wire.directory import Directory
from confide.wire.envelope import RequestHeader, envelope_digest
from confide.wire.grants import ALGORITHM, GRANT_TYPE, Grant
from confide.wire.key_document import KeyDocument
from confide.wire.suites import XWING_SUITE

pytestmark = pytest.mark.e2e

CHUNKED = "message/ohttp-chunked-req"


@pytest.fixture
def document(stack):
    found = httpx2.get(f"{stack.gateway_url}/.well-known/confide/keys").content
    return KeyDocument.parse(Directory.parse(found).replicas[0].document)


@pytest.fixture
def prefix(document):
    """A header that names a living key, and random bytes where the encapsulated key belongs."""
    key_id = document.key_configs[0].key_id
    header = RequestHeader(key_id, XWING_SUITE.kem_id, XWING_SUITE.kdf_id, XWING_SUITE.aead_id)
    return header.encode() + os.urandom(XWING_SUITE.n_enc)


def to_gateway(stack, body, **headers):
    return httpx2.post(
        f"{stack.gateway_url}/v1/sealed",
        content=body,
        headers={
            "content-type": CHUNKED,
            "authorization": f"Bearer {stack.api_key}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        timeout=20,
    )


def to_enclave(stack, body, token, request_id="r-1"):
    return httpx2.post(
        f"http://127.0.0.1:{stack.options.enclave_ports[0]}/v1/sealed",
        content=body,
        headers={
            "content-type": CHUNKED,
            "confide-request-id": request_id,
            **({"confide-grant": token} if token else {}),
        },
        timeout=20,
    )


def refused(answer):
    assert 400 <= answer.status_code < 500, answer.status_code
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    return answer.json()["code"]


@pytest.mark.parametrize("size", [0, 1, 6, 7, 100, 1126])
def test_a_request_cut_inside_its_clear_prefix_is_refused(stack, prefix, size):
    refused(to_gateway(stack, prefix[:size]))


def test_random_bytes_and_huge_lengths_are_refused_in_one_shape(stack, prefix, document):
    sent = {
        "random": prefix + os.urandom(500),
        "huge varint": prefix + b"\xff" * 8 + os.urandom(64),
        "empty chunk": prefix + b"\x00",
        "no final": prefix + b"\x50\x10" + os.urandom(16),
    }
    codes = {
        name: refused(to_gateway(stack, body, confide_document=document.sha256_hex))
        for name, body in sent.items()
    }
    assert len({codes["random"], codes["empty chunk"]}) == 1, codes


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_low_order_share_looks_like_any_other_failure(stack, prefix, document, point):
    """X-Wing's X25519 half would give a secret everybody knows; the library raises there."""
    shapes = set()
    for envelope in (prefix, prefix[:-32] + point):
        answer = to_gateway(stack, envelope + os.urandom(100), confide_document=document.sha256_hex)
        shapes.add((answer.status_code, refused(answer), answer.json()["title"]))
    assert len(shapes) == 1, shapes


def test_one_shape_for_every_key_and_suite_that_is_not_held(stack, prefix):
    shapes = set()
    for position in range(1, 7):
        body = bytearray(prefix + os.urandom(64))
        body[position] ^= 0xFF
        answer = to_gateway(stack, bytes(body))
        shapes.add((answer.status_code, refused(answer)))
    assert len(shapes) == 1, shapes


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(stack, prefix):
    port = stack.options.gateway_port
    head = (
        f"POST /v1/sealed HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: {CHUNKED}\r\n"
        f"authorization: Bearer {stack.api_key}\r\ncontent-length: {1 << 40}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(head.encode() + prefix)
        assert b" 413 " in peer.recv(4096).partition(b"\r\n")[0] + b" "


def claims(stack, prefix, **changes):
    now = changes.pop("now", time.time())
    grant = Grant.issue(
        domain="default",
        key_id="key_0",
        models=("*",),
        operations=("chat",),
        request_id="r-1",
        envelope_digest=envelope_digest(prefix),
        usage="exact",
        now=now,
    )
    return {**grant.to_claims(), **changes}


@pytest.mark.parametrize("kind", ["none", "other key", "alg none", "hs256", "expired"])
def test_nobody_but_the_gateway_can_ask_the_enclave(stack, prefix, kind):
    forger = Ed25519PrivateKey.generate()
    body = prefix + os.urandom(200)
    header = {"typ": GRANT_TYPE}
    if kind == "none":
        token = None
    elif kind == "alg none":
        token = jwt.encode(claims(stack, prefix), None, "none", headers=header)
    elif kind == "hs256":
        # The public key of the grants, used as an HMAC secret, is the classic confusion.
        secret = (stack.home.enclave_settings.read_text().split("gateway_public_key = ")[1])[:45]
        token = jwt.encode(claims(stack, prefix), secret, "HS256", headers=header)
    elif kind == "expired":
        old = claims(stack, prefix, now=time.time() - 3600)
        token = jwt.encode(old, forger, ALGORITHM, headers=header)
    else:
        token = jwt.encode(claims(stack, prefix), forger, ALGORITHM, headers=header)
    assert refused(to_enclave(stack, body, token))


def test_the_usage_of_others_is_not_for_strangers(stack):
    port = stack.options.enclave_ports[0]
    for headers in ({}, {"authorization": f"Bearer {stack.api_key}"}):
        answer = httpx2.get(f"http://127.0.0.1:{port}/v1/usage?after=0", headers=headers)
        assert answer.status_code in {401, 403}
        assert "statements" not in answer.text


def test_the_stack_still_serves_afterwards(stack):
    answer = httpx2.post(
        f"{stack.proxy_url}/v1/chat/completions",
        content=json.dumps({"model": "echo", "messages": [{"role": "user", "content": "x"}]}),
        headers={"content-type": "application/json"},
        timeout=20,
    )
    assert answer.status_code == 200
