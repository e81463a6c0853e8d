"""Whatever header a client writes: it reaches the engine byte for byte, or not at all."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.doubles.openai_server import OpenAIDouble

from confide.client.outer import plain_request
from confide.crypto.xwing import PrivateKey
from confide.enclave.inference.backend import BackendRequest, Operation
from confide.enclave.inference.backends.openai_http import OpenAIHTTPBackend
from confide.sealing.exchange import InnerRequest, RequestOpener, seal_request
from confide.sealing.padding import PaddingProfile, pad_request
from confide.wire.header_lists import REQUEST_NAMES, REQUEST_PREFIXES, REQUEST_SUFFIXES
from confide.wire.inner_headers import forwarded_fields, travels
from confide.wire.key_config import KeyConfig
from confide.wire.suites import KEM_XWING

KEY = PrivateKey.generate()
CONFIG = KeyConfig(1, KEM_XWING, KEY.public_key, ((1, 2),))
BODY = json.dumps({"model": "m", "messages": []}).encode()

token = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.!~", min_size=1, max_size=24)
visible = st.characters(exclude_categories=["Cc", "Cs"])
values = st.text(visible, max_size=40).map(lambda text: text.strip(" \t").encode())
unknown = token.filter(lambda name: travels(name) and name not in ("accept", "content-type"))
listed = st.one_of(
    st.sampled_from(sorted(REQUEST_NAMES)),
    st.builds(str.__add__, st.sampled_from(REQUEST_PREFIXES), token),
    st.builds(str.__add__, token, st.sampled_from(REQUEST_SUFFIXES)),
)
hyphens = st.sampled_from([lambda name: name, lambda name: name.replace("-", "_"), str.upper])
refused = st.builds(lambda spell, name: spell(name), hyphens, listed)


@pytest.fixture(scope="module")
def engine():
    """A real server that records headers; its backend lives in one loop."""
    double = OpenAIDouble()
    with double.serve() as url, asyncio.Runner() as runner:
        backend = OpenAIHTTPBackend("main", {"base_url": url})
        runner.run(backend.start())
        yield double, backend, runner
        runner.run(backend.stop())


def travel(engine, headers):
    """From a client's request through a seal to the server; returns what it got."""
    double, backend, runner = engine
    raw = [(name.encode(), value) for name, value in headers]
    request = httpx2.Request("POST", "https://confide.invalid/v1/chat/completions", headers=raw)
    plain = plain_request(request, BODY)
    inner = InnerRequest("POST", "https", "confide.invalid", plain.path, plain.headers, plain.body)
    sealed, _ = seal_request(CONFIG, inner, pad_to=pad_request)
    opener = RequestOpener({1: KEY}.get, max_body=2**20, max_fields=2**16, profile=PaddingProfile())
    opener.feed(sealed.content())
    opened, _ = opener.finish()
    sent = BackendRequest(
        Operation.CHAT, "m", opened.body, json.loads(opened.body), False, bytes(32),
        headers=forwarded_fields(opened.headers),
    )  # fmt: skip

    async def ask():
        answer = await backend.open(sent)
        async for _ in answer.body:
            pass

    runner.run(ask())
    return double.raw_headers[-1]


HTTP = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@HTTP
@given(headers=st.lists(st.tuples(unknown, values), max_size=12))
@example(headers=[("x-a", b"1"), ("x-b", b"2"), ("x-a", b"3"), ("x-a", "grün".encode())])
def test_an_unknown_header_reaches_the_engine_byte_for_byte_in_order(engine, headers):
    got = travel(engine, headers)
    for name in {name for name, _ in headers}:
        assert [v for n, v in got if n == name.encode()] == [v for n, v in headers if n == name]


@HTTP
@given(name=refused, mark=st.integers(10**9, 10**12))
def test_a_listed_header_never_reaches_the_engine(engine, name, mark):
    got = travel(engine, [(name, b"marked-%d" % mark), ("x-control", b"%d" % mark)])
    assert (b"x-control", b"%d" % mark) in got
    assert [line for line in got if b"marked-" in line[1]] == []
