"""Anthropic's routes: what leaves is a sealed chat request, what fails has Anthropic's shape."""

import asyncio
import io
import json

import pytest
from tests.doubles.sealed_stack import Inner, Refusal, delta, sse
from tests.unit.dialects.anthropic.streams import events_of, message_of
from tests.unit.proxy.conftest import proxy_for
from tests.unit.proxy.test_proxy_routes import Caller

from confide.errors import BindingError
from confide.telemetry import logs

QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
STREAM = json.dumps({**QUESTION, "stream": True}).encode()
FINISH = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
KEY = {"x-api-key": "ck_mine", "authorization": "", "anthropic-version": "2023-06-01"}


@pytest.fixture
def client(make_client):
    return make_client(compat="auto")


@pytest.fixture
def app(stack):
    return proxy_for(stack, compat="auto", ping_every_s=0.05)


def chatting(request):
    if json.loads(request.body).get("stream"):
        return sse(delta("hello"), delta(" world"), FINISH, "[DONE]")
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    return Inner(pieces=[json.dumps({"choices": [choice]}).encode()])


def error_of(answer):
    body = answer.json()
    assert body["type"] == "error"
    assert body["request_id"] == answer.headers["request-id"]
    return answer.status_code, body["error"]["type"], body["error"].get("code")


def enclave_error(status, code):
    body = json.dumps({"error": {"message": "no", "code": code}}).encode()
    return lambda request: Inner(status=status, pieces=[body])


async def test_what_leaves_is_a_chat_request_without_what_names_the_client(stack, client):
    stack.enclave.model = chatting
    named = {"user-agent": "claude-cli", "x-app": "cli", "anthropic-version": "2023-06-01"}
    headers = {**KEY, **named, "anthropic-beta": "x"}
    answer = await client.post("/v1/messages?beta=true", json=QUESTION, headers=headers)
    assert answer.json()["content"] == [{"type": "text", "text": "x"}]
    assert answer.headers["request-id"] == "01J9Z4T0V5"
    (inner,) = stack.enclave.requests
    assert inner.path == "/v1/chat/completions"
    protocols = {b"content-type", b"date", b"confide-document"}
    assert {name for name, _ in inner.headers} == {*protocols, b"anthropic-beta"}
    assert dict(inner.headers)[b"anthropic-beta"] == b"x"
    assert stack.posts[0].headers["authorization"] == "Bearer ck_mine"


async def test_a_bearer_credential_works_and_none_is_an_authentication_error(stack, make_client):
    stack.enclave.model = chatting
    client = make_client({"authorization": ""}, compat="auto")
    assert error_of(await client.post("/v1/messages", json=QUESTION))[:2] == (
        401,
        "authentication_error",
    )
    client = make_client({"authorization": "Bearer ck_b"}, compat="auto")
    assert (await client.post("/v1/messages", json=QUESTION)).status_code == 200
    assert stack.posts[0].headers["authorization"] == "Bearer ck_b"


@pytest.mark.parametrize("version", ["1", "1999-01-01", "2023-06-01; x"])
async def test_a_version_that_is_none_is_refused_and_nothing_is_sent(stack, client, version):
    answer = await client.post(
        "/v1/messages", json=QUESTION, headers={"anthropic-version": version}
    )
    assert error_of(answer)[:2] == (400, "invalid_request_error")
    assert stack.posts == []


async def test_a_stream_begins_with_its_first_event_and_each_piece_leaves_at_once(stack, app):
    stack.enclave.model = chatting
    caller = await Caller(app, "/v1/messages", STREAM).run()
    assert dict(caller.sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    bodies = [message["body"] for message in caller.sent[1:] if message["body"]]
    assert [event["type"] for event in events_of(bodies[0])] == ["message_start"]
    assert b"hello" in bodies[1]
    assert b"world" not in bodies[1]
    assert message_of(events_of(caller.body))["content"][0]["text"] == "hello world"
    assert caller.complete


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (404, "model_not_found", (404, "not_found_error")),
        (403, "model_not_allowed", (403, "permission_error")),
        (503, "model_unavailable", (529, "overloaded_error")),
        (500, "internal_error", (500, "api_error")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_the_enclave_keeps_its_status(stack, client, status, code, told, stream):
    stack.enclave.model = enclave_error(status, code)
    answer = await client.post("/v1/messages", json={**QUESTION, "stream": stream})
    assert error_of(answer) == (*told, code)
    assert answer.headers["x-confide-origin"] == "enclave"


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal.of("invalid-api-key", 401), (401, "authentication_error")),
        (Refusal.of("rate-limited", 429, retry_after_s=3), (429, "rate_limit_error")),
        (Refusal.of("request-too-large", 413), (413, "request_too_large")),
    ],
)
async def test_a_refusal_of_the_gateway_has_anthropics_shape(stack, client, refusal, told):
    stack.refusals = [refusal]
    answer = await client.post("/v1/messages", json=QUESTION)
    assert error_of(answer)[:2] == told
    assert answer.headers["x-confide-origin"] == "gateway"


async def test_a_refused_enclave_is_told_with_the_check_that_failed(make_client):
    class Refusing:
        def verify(self, *_, **__):
            raise BindingError("the report is about another key")

    client = make_client(compat="auto", verifier=Refusing())
    answer = await client.post("/v1/messages", json=QUESTION)
    assert error_of(answer) == (502, "api_error", "binding.report_data")
    assert answer.json()["error"]["message"].startswith("attestation refused (binding.report_data)")
    assert answer.headers["x-should-retry"] == "false"


async def test_a_body_over_the_limit_is_refused(stack, make_client):
    client = make_client(compat="auto", body_limit=10)
    assert error_of(await client.post("/v1/messages", json=QUESTION))[:2] == (
        413,
        "request_too_large",
    )


async def test_a_cut_stream_ends_with_an_error_event_and_a_broken_connection(stack, app):
    stack.enclave.model = chatting
    stack.tamper = lambda pieces: list(pieces)[:2]
    caller = await Caller(app, "/v1/messages", STREAM).run()
    events = events_of(caller.body)
    assert events[-1]["error"]["code"] == "stream_truncated"
    assert "message_stop" not in [event["type"] for event in events]
    assert not caller.complete


class Slow:
    """Answers when told; holds the transport's call until then."""

    def __init__(self, transport):
        self.transport = transport
        self.go = asyncio.Event()
        self.cancelled = False

    async def __call__(self, request):
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return await self.transport(request)


@pytest.fixture
def slow(monkeypatch):
    from confide.client import AsyncEncryptedTransport

    original = AsyncEncryptedTransport.handle_async_request
    held = []

    async def handle(self, request):
        held.append(Slow(lambda asked: original(self, asked)))
        return await held[-1](request)

    monkeypatch.setattr(AsyncEncryptedTransport, "handle_async_request", handle)
    return held


async def wait_until(claim):
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.005)


async def test_whoever_waits_gets_pings_and_then_the_message(stack, app, slow):
    stack.enclave.model = chatting
    caller = Caller(app, "/v1/messages", STREAM)
    running = asyncio.create_task(caller.run())
    await wait_until(lambda: caller.body.count(b"event: ping") >= 2)
    slow[0].go.set()
    await running
    events = events_of(caller.body)
    assert [event["type"] for event in events[:3]] == ["message_start", "ping", "ping"]
    assert message_of(events)["content"][0]["text"] == "hello world"
    assert caller.complete


async def test_an_error_after_a_ping_is_an_event(stack, app, slow):
    stack.enclave.model = enclave_error(404, "model_not_found")
    caller = Caller(app, "/v1/messages", STREAM)
    running = asyncio.create_task(caller.run())
    await wait_until(lambda: b"event: ping" in caller.body)
    slow[0].go.set()
    await running
    assert events_of(caller.body)[-1]["error"]["type"] == "not_found_error"
    assert not caller.complete


async def test_a_caller_that_goes_away_ends_the_request(app, slow):
    caller = Caller(app, "/v1/messages", STREAM)
    running = asyncio.create_task(caller.run())
    await wait_until(lambda: b"event: ping" in caller.body)
    caller.gone.set()
    await running
    assert slow[0].cancelled


async def test_a_limit_beyond_the_context_is_lowered_to_what_fits(stack, client):
    limits = []

    def model(request):
        asked = json.loads(request.body)
        if request.path == "/v1/tokenize":
            assert set(asked) == {"model", "messages"}
            return Inner(pieces=[b'{"input_tokens": 40, "context_length": 100}'])
        limits.append(asked["max_tokens"])
        if asked["max_tokens"] > 60:
            return enclave_error(400, "context_length_exceeded")(request)
        return chatting(request)

    stack.enclave.model = model
    answer = await client.post("/v1/messages", json={**QUESTION, "max_tokens": 32000})
    assert answer.status_code == 200
    assert limits == [32000, 60]


@pytest.mark.parametrize(
    "count", [b'{"input_tokens": 100, "context_length": 100}', b'{"input_tokens": 1}', b"{}", b"x"]
)
async def test_a_prompt_that_does_not_fit_at_all_is_refused(stack, client, count):
    def model(request):
        if request.path == "/v1/tokenize":
            return Inner(pieces=[count])
        return enclave_error(400, "context_length_exceeded")(request)

    stack.enclave.model = model
    answer = await client.post("/v1/messages", json={**QUESTION, "max_tokens": 32000})
    assert error_of(answer) == (400, "invalid_request_error", "context_length_exceeded")
    assert answer.json()["error"]["message"].startswith("prompt is too long")
    assert [inner.path for inner in stack.enclave.requests].count("/v1/chat/completions") == 1


async def test_counting_goes_to_the_enclave(stack, client):
    stack.enclave.model = lambda request: Inner(pieces=[b'{"input_tokens": 7}'])
    body = {"model": "m", "messages": QUESTION["messages"]}
    answer = await client.post("/v1/messages/count_tokens", json=body)
    assert answer.json() == {"input_tokens": 7}
    assert stack.enclave.requests[0].path == "/v1/tokenize"


async def test_models_answer_in_the_dialect_of_the_headers(client):
    assert (await client.get("/v1/models")).json()["object"] == "list"
    listing = (await client.get("/v1/models", headers=KEY)).json()
    assert listing["data"][0]["type"] == "model"
    assert (await client.get("/v1/models?limit=0", headers=KEY)).status_code == 400


async def test_the_type_of_models_goes_to_the_enclave_and_the_page_does_not(client, stack):
    stack.enclave.model = lambda _: Inner(pieces=[b'{"object":"list","data":[]}'])
    await client.get("/v1/models?limit=5&type=embedding&after_id=m", headers=KEY)
    assert stack.enclave.requests[-1].path == "/v1/models?type=embedding"


async def test_head_of_the_root_is_answered(client):
    assert (await client.head("/")).status_code == 200


@pytest.mark.parametrize(
    ("compat", "openai", "anthropic"),
    [
        ("openai", "/v1/chat/completions", None),
        ("anthropic", None, "/v1/messages"),
        ("both", "/openai/v1/chat/completions", "/anthropic/v1/messages"),
        ("auto", "/v1/chat/completions", "/v1/messages"),
    ],
)
async def test_each_mode_has_its_routes_and_no_others(
    stack, make_client, compat, openai, anthropic
):
    stack.enclave.model = chatting
    client = make_client(compat=compat)
    paths = ["/v1/chat/completions", "/v1/messages"]
    paths += [f"/{prefix}{path}" for prefix in ("openai", "anthropic") for path in paths]
    found = {path for path in paths if (await client.post(path, json=QUESTION)).status_code == 200}
    assert found == {path for path in (openai, anthropic) if path}
    assert {inner.path for inner in stack.enclave.requests} == {"/v1/chat/completions"}


async def test_below_a_prefix_every_refusal_has_its_dialect(make_client):
    client = make_client(compat="both")
    assert error_of(await client.get("/anthropic/v1/odd")) == (
        404,
        "not_found_error",
        "unknown_url",
    )
    assert error_of(await client.post("/anthropic/v1/files"))[0] == 501
    assert (await client.get("/openai/v1/odd", headers=KEY)).json()["error"]["param"] is None
    assert (await client.post("/openai/v1/files")).status_code == 501


async def test_models_are_below_both_prefixes(make_client):
    client = make_client(compat="both")
    assert (await client.get("/openai/v1/models")).json()["object"] == "list"
    assert (await client.get("/anthropic/v1/models")).json()["has_more"] is False


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/messages/batches", 501), ("/v1/complete", 501), ("/v1/messages/odd", 404)],
)
async def test_an_unknown_route_is_refused_in_anthropics_shape(client, path, status):
    assert error_of(await client.post(path, json={}))[0] == status


@pytest.mark.parametrize("path", ["/v1/files", "/v1/vector_stores/vs_1/search", "/v1/moderations"])
async def test_parts_that_are_not_built_say_so(client, path):
    answer = await client.post(path, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_implemented")


async def test_a_page_of_another_machine_is_refused_in_anthropics_shape(client):
    answer = await client.post(
        "/v1/messages", json=QUESTION, headers={"origin": "https://evil.example"}
    )
    assert error_of(answer) == (403, "permission_error", "origin_not_allowed")


async def test_the_log_names_the_route_and_holds_no_content(stack, client):
    lines = io.StringIO()
    logs.configure("debug", lines, now=stack.clock)
    try:
        body = {**QUESTION, "messages": [{"role": "user", "content": "my secret"}]}
        stack.enclave.model = chatting
        await client.post("/v1/messages", json=body)
        await client.post("/v1/messages", json={**body, "max_tokens": "my secret"})
    finally:
        logs.configure("info", None)
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    found = [(e["route"], e["outcome"]) for e in events if "route" in e]
    assert found == [("messages", "complete"), ("messages", "failed")]
    assert "secret" not in lines.getvalue()


@pytest.mark.parametrize("stream", [False, True])
async def test_headers_that_travel_reach_the_enclave_and_come_back(stack, client, stream):
    def told(request):
        answer = chatting(request)
        engines = (b"x-ratelimit-remaining-tokens", b"7"), (b"openai-version", b"1")
        answer.headers += (*engines, (b"access-control-allow-origin", b"*"))
        return answer

    stack.enclave.model = told
    headers = {**KEY, "x-feature": "on", "traceparent": "00-1-2-03", "cookie": "a=b"}
    answer = await client.post("/v1/messages", json={**QUESTION, "stream": stream}, headers=headers)
    assert answer.headers["x-ratelimit-remaining-tokens"] == "7"
    assert answer.headers["openai-version"] == "1"
    assert "access-control-allow-origin" not in answer.headers
    (inner,) = stack.enclave.requests
    names = {name for name, _ in inner.headers} - {b"date", b"confide-document"}
    assert names == {b"content-type", b"x-feature"}


async def test_too_many_headers_are_refused_in_anthropics_shape(stack, client):
    answer = await client.post(
        "/v1/messages", json=QUESTION, headers={**KEY, **{f"x-{n}": "1" for n in range(65)}}
    )
    assert error_of(answer) == (431, "invalid_request_error", "headers_too_large")
    assert answer.headers["x-confide-origin"] == "client"
    assert stack.posts == []
