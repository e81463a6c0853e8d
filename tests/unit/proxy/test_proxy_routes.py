"""Bodies pass byte for byte in both directions; what goes wrong has OpenAI's shape."""

import asyncio
import io
import json

import httpx2
import pytest
from tests.doubles.sealed_stack import (
    Inner,
    Refusal,
    SealedStack,
    delta,
    sse,
)
from tests.unit.proxy.conftest import PORT, proxy_for

from confide.telemetry import logs

ASK = b'{"model": "m",  "messages":[{"role":"user","content":"h\\u00e9"}], "odd": 1.50}'
STREAM = b'{"model":"m","messages":[],"stream":true}'


def scope_for(path, body=b"", headers=(), method="POST"):
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"authorization", b"Bearer ck_test"),
            (b"content-type", b"application/json"),
            *headers,
        ],
    }


class Caller:
    """One ASGI request by hand, to see every message and to go away when told."""

    def __init__(self, app, path, body, headers=()):
        self.sent = []
        self.gone = asyncio.Event()
        self.news = asyncio.Event()
        self._body = [{"type": "http.request", "body": body, "more_body": False}]
        self._call = app(scope_for(path, headers=headers), self.receive, self.send)

    async def receive(self):
        if self._body:
            return self._body.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)
        self.news.set()

    async def run(self):
        await asyncio.wait_for(self._call, 5)
        return self

    @property
    def body(self):
        return b"".join(m.get("body", b"") for m in self.sent[1:])

    @property
    def complete(self):
        return bool(self.sent) and self.sent[-1].get("more_body", False) is False


def code_of(response):
    return response.json()["error"]["code"]


async def test_the_request_body_arrives_byte_for_byte(stack, make_client):
    client = make_client()
    await client.post("/v1/chat/completions", content=ASK)
    (inner,) = stack.enclave.requests
    assert (inner.method, inner.path, inner.body) == ("POST", "/v1/chat/completions", ASK)


async def test_the_answer_arrives_byte_for_byte(stack, make_client):
    odd = b'{"id" : "x",\r\n "choices":[], "n": 1.0e+2}\n\n'
    stack.enclave.model = lambda request: Inner(
        status=418,
        headers=((b"content-type", b"application/json"), (b"x-request-id", b"req_1")),
        pieces=[odd[:7], odd[7:]],
    )
    answer = await make_client().post("/v1/completions", content=ASK)
    assert (answer.status_code, answer.content) == (418, odd)
    assert answer.headers["x-request-id"] == "req_1"
    assert answer.headers["confide-request-id"] == "01J9Z4T0V5"
    assert answer.headers["x-confide-origin"] == "enclave"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/org/name?after=1"),
    ],
)
async def test_these_routes_are_sealed_with_their_path(stack, make_client, method, path):
    stack.enclave.model = lambda request: Inner()
    answer = await make_client().request(method, path)
    assert answer.status_code == 200
    assert stack.enclave.requests[0].path == path


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/responses", 405),
        ("GET", "/v1/audio/transcriptions", 405),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/chat/completions/", 404),
        ("POST", "/chat/completions", 404),
    ],
)
async def test_any_other_route_is_refused_and_not_forwarded(
    stack, make_client, method, path, status
):
    answer = await make_client().request(method, path, content=ASK)
    assert (answer.status_code, code_of(answer)) == (status, "unknown_url")
    assert stack.posts == []


async def test_a_malformed_body_is_the_enclaves_to_refuse(stack, make_client):
    stack.enclave.model = lambda request: Inner(status=400, pieces=[b'{"error":{}}'])
    answer = await make_client().post("/v1/chat/completions", content=b"{not json")
    assert (answer.status_code, answer.content) == (400, b'{"error":{}}')
    assert stack.enclave.requests[0].body == b"{not json"


async def test_every_piece_of_a_stream_is_sent_on_at_once(stack, app):
    caller = await Caller(app, "/v1/chat/completions", STREAM).run()
    pieces = [m["body"] for m in caller.sent[1:]]
    assert pieces == [
        f"data: {delta('hello')}\n\n".encode(),
        f"data: {delta(' world')}\n\n".encode(),
        b"data: [DONE]\n\n",
        b"",
    ]
    assert caller.complete


async def test_a_cut_stream_ends_in_an_error_event_and_a_broken_connection(stack, app):
    stack.tamper = lambda pieces: list(pieces)[:2]
    caller = await Caller(app, "/v1/chat/completions", STREAM).run()
    assert b"hello" in caller.body
    assert b"[DONE]" not in caller.body
    error = json.loads(caller.body.rpartition(b"data: ")[2])["error"]
    assert error["code"] == "stream_truncated"
    assert not caller.complete


async def test_a_stream_cut_inside_an_event_gets_no_event_at_all(stack, app):
    stack.enclave.model = lambda request: Inner(
        headers=((b"content-type", b"text/event-stream"),), pieces=[b"data: [DONE]", b"\n\n"]
    )
    stack.tamper = lambda pieces: list(pieces)[:2]
    caller = await Caller(app, "/v1/chat/completions", STREAM).run()
    assert caller.body == b"data: [DONE]"
    assert not caller.complete


async def test_a_cut_answer_is_an_error_and_not_half_a_document(stack, make_client):
    stack.tamper = lambda pieces: list(pieces)[:-1]
    answer = await make_client().post("/v1/chat/completions", content=ASK)
    assert (answer.status_code, code_of(answer)) == (502, "stream_truncated")
    assert answer.headers["x-should-retry"] == "false"


async def test_a_caller_that_goes_away_ends_the_request_to_the_gateway(stack, app):
    """The double's second event never comes; only the disconnect can end this."""
    held = asyncio.Event()

    class Endless(httpx2.AsyncByteStream):
        def __init__(self, inner):
            self.inner, self.closed = inner, False

        async def __aiter__(self):
            async for piece in self.inner:
                yield piece
                if stack.streams and self.inner.sent == 2:
                    await held.wait()

        async def aclose(self):
            self.closed = True

    relay = stack.transport.handler

    def handler(request):
        response = relay(request)
        if request.method == "POST":
            response.stream = stack.endless = Endless(response.stream)
        return response

    stack.transport.handler = handler
    caller = Caller(app, "/v1/chat/completions", STREAM)
    running = asyncio.create_task(caller.run())
    while b"hello" not in caller.body:
        await asyncio.wait_for(caller.news.wait(), 5)
        caller.news.clear()
    loop = asyncio.get_running_loop()
    left = loop.time()
    caller.gone.set()
    await running
    assert stack.endless.closed
    assert loop.time() - left < 0.25
    assert not caller.complete


async def test_a_caller_that_goes_away_before_its_body_is_complete_sends_nothing(stack, app):
    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    sent = []
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    await app(scope_for("/v1/embeddings"), receive, send)
    assert (sent, stack.posts) == ([], [])


async def test_the_callers_key_is_used_if_no_key_is_set(stack, make_client):
    await make_client().post("/v1/chat/completions", content=ASK)
    assert stack.posts[0].headers["authorization"] == "Bearer ck_test"


async def test_the_key_that_is_set_replaces_the_callers(stack, make_client):
    await make_client(api_key="ck_own").post("/v1/chat/completions", content=ASK)
    assert stack.posts[0].headers["authorization"] == "Bearer ck_own"


async def test_no_key_at_all_is_refused_before_anything_is_sent(stack, make_client):
    client = make_client()
    del client.headers["authorization"]
    answer = await client.post("/v1/chat/completions", content=ASK)
    assert (answer.status_code, code_of(answer)) == (401, "missing_api_key")
    assert (stack.posts, stack.fetches) == ([], [])


async def test_a_refused_enclave_is_named_with_the_check_that_failed(stack, make_client):
    answer = await make_client(verifier=SealedStack().verifier).post(
        "/v1/chat/completions", content=ASK
    )
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "attestation_error"
    assert code_of(answer) == "simulated.root_not_pinned"
    assert answer.headers["x-should-retry"] == "false"
    assert stack.posts == []


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (httpx2.ConnectError("refused"), 503, "gateway_unreachable"),
        (httpx2.ReadTimeout("late"), 504, "gateway_timeout"),
        (httpx2.ReadError("reset"), 502, "gateway_connection_lost"),
    ],
)
async def test_a_gateway_that_is_down_has_its_own_code(stack, make_client, raised, status, code):
    stack.refusals = [raised]
    answer = await make_client().post("/v1/chat/completions", content=ASK)
    assert (answer.status_code, code_of(answer)) == (status, code)


async def test_a_rate_limit_of_the_gateway_arrives_with_its_wait(stack, make_client):
    stack.refusals = [Refusal.of("rate-limited", 429, retry_after_s=7)]
    answer = await make_client().post("/v1/chat/completions", content=ASK)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert code_of(answer) == "rate_limit_exceeded"
    assert answer.headers["x-confide-origin"] == "gateway"


async def test_a_sealed_error_event_passes_through_and_ends_regularly(stack, app):
    stack.enclave.model = lambda request: sse(delta("hello"), '{"error":{"code":"x"}}')
    caller = await Caller(app, "/v1/chat/completions", STREAM).run()
    assert caller.body.endswith(b'data: {"error":{"code":"x"}}\n\n')
    assert caller.complete


async def test_the_log_says_how_each_request_ended_and_nothing_of_it(stack, app):
    lines = io.StringIO()
    logs.configure("info", lines, now=stack.clock)
    try:
        await Caller(app, "/v1/chat/completions", STREAM).run()
        stack.tamper = lambda pieces: list(pieces)[:2]
        await Caller(app, "/v1/models/secret-name", b"").run()
        await Caller(app, "/v1/chat/completions", STREAM).run()
    finally:
        logs.configure("info", None)
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(e["route"], e["outcome"], e["code"]) for e in events] == [
        ("chat", "complete", None),
        ("chat", "failed", "stream-truncated"),
    ]
    assert events[0]["request_id"] == "01J9Z4T0V5"
    assert "secret-name" not in lines.getvalue()
    assert "hello" not in lines.getvalue()


async def test_liveness_says_whether_an_enclave_is_verified_and_simulated(stack, make_client):
    client = make_client()
    before = (await client.get("/")).json()
    await client.post("/v1/chat/completions", content=ASK)
    after = (await client.get("/")).json()
    assert before == {"status": "ok", "verified": False, "simulated": None}
    assert after == {"status": "ok", "verified": True, "simulated": True}


async def test_a_header_nobody_knows_is_sealed_and_what_names_the_caller_is_not(stack, make_client):
    named = {"user-agent": "me", "cookie": "a=b", "origin": "http://127.0.0.1:8000"}
    headers = [("x-new", "1"), ("openai-beta", "z"), ("x-new", "2"), ("connection", "x-hop")]
    headers += [("x-hop", "1"), *named.items()]
    async with make_client() as client:
        answer = await client.post("/v1/chat/completions", content=ASK, headers=headers)
    assert answer.status_code == 200
    (inner,) = stack.enclave.requests
    new = [line for line in inner.headers if line[0].startswith((b"x-", b"openai-"))]
    assert new == [(b"x-new", b"1"), (b"openai-beta", b"z"), (b"x-new", b"2")]
    assert {name for name, _ in inner.headers} <= {
        *(b"date", b"confide-document", b"accept", b"content-type", b"x-new", b"openai-beta"),
    }
    assert "x-new" not in stack.posts[0].headers


async def test_headers_over_the_bound_of_a_seal_are_refused_in_openais_shape(stack, make_client):
    async with make_client() as client:
        answer = await client.post(
            "/v1/chat/completions", content=ASK, headers={"x-long": "v" * 8192}
        )
    assert (answer.status_code, code_of(answer)) == (431, "headers_too_large")
    assert stack.posts == []


@pytest.mark.parametrize("path", ["/v1/files", "/v1/nothing", "/v1/chat/completions"])
async def test_a_refusal_of_the_proxy_has_a_request_id_too(make_client, path):
    client = make_client(body_limit=4)
    first = (await client.post(path, content=ASK)).headers["x-request-id"]
    assert first.startswith("req_")
    assert first != (await client.post(path, content=ASK)).headers["x-request-id"]


@pytest.mark.parametrize("compat", ["openai", "anthropic"])
async def test_a_defect_is_told_in_the_callers_dialect_and_quotes_nothing(stack, compat):
    class Broken:
        def verify(self, *_, **__):
            raise KeyError("what was asked")

    app = proxy_for(stack, verifier=Broken(), compat=compat)
    path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[compat]
    body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"h"}]}'
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"authorization": "Bearer ck_test"}
    async with httpx2.AsyncClient(
        transport=transport, base_url=f"http://127.0.0.1:{PORT}", headers=headers
    ) as client:
        answer = await client.post(path, content=body)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "proxy_defect"
    assert answer.headers["x-should-retry"] == "false"
    assert "what was asked" not in answer.text
