"""An opened request is handled and its answer comes back whole, under the key."""

import json

import pytest
from tests.unit.enclave.door.door_bench import MESSAGES


async def test_a_chat_is_answered_under_the_seal(bench):
    got = await bench.ask({"model": "echo", "messages": MESSAGES})
    assert got.status == 200
    assert got.headers[b"content-type"] == b"message/ohttp-chunked-res"
    assert got.headers[b"incremental"] == b"?1"
    assert got.head.status == 200
    assert got.json["choices"][0]["message"]["content"] == "the quick brown fox"
    assert b"quick" not in got.raw


async def test_a_stream_comes_as_events_and_ends_with_done(bench):
    got = await bench.ask({"model": "echo", "messages": MESSAGES, "stream": True})
    assert dict(got.head.headers)[b"content-type"] == b"text/event-stream"
    events = got.body.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    text = "".join(
        choice["delta"].get("content", "")
        for event in events[:-2]
        for choice in json.loads(event[6:])["choices"]
    )
    assert text == "the quick brown fox"


async def test_completions_and_embeddings_have_their_own_routes(bench):
    got = await bench.ask({"model": "echo", "prompt": "one two"}, path="/v1/completions")
    assert got.json["choices"][0]["text"] == "one two"
    got = await bench.ask({"model": "echo", "input": ["a", "b"]}, path="/v1/embeddings")
    assert [one["object"] for one in got.json["data"]] == ["embedding", "embedding"]


async def test_models_lists_only_what_the_grant_covers(bench):
    got = await bench.ask(path="/v1/models", method="GET", grant={"models": ("second",)})
    assert [one["id"] for one in got.json["data"]] == ["second"]
    got = await bench.ask(path="/v1/models", method="GET")
    assert [one["id"] for one in got.json["data"]] == ["echo", "second"]


async def test_one_model_can_be_retrieved_by_name(bench):
    got = await bench.ask(path="/v1/models/echo", method="GET")
    assert got.json["id"] == "echo"
    got = await bench.ask(path="/v1/models/absent", method="GET")
    assert (got.head.status, got.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", ["echo", "absent"])
async def test_a_model_outside_the_grant_cannot_be_told_from_one_that_is_absent(bench, name):
    got = await bench.ask(path=f"/v1/models/{name}", method="GET", grant={"models": ("second",)})
    assert (got.head.status, got.error["code"]) == (403, "model_not_allowed")


async def test_the_body_reaches_the_backend_byte_for_byte(bench):
    seen = []
    original = bench.backend.open

    async def spy(request):
        seen.append(request.body)
        return await original(request)

    bench.backend.open = spy
    raw = (
        b'{ "model" :"echo","messages":[{"role":"user","content":"h\\u00e9"}],\n'
        b' "metadata":{"x":[1.0,2e3]}, "reasoning_effort":"low", "unheard_of":null}'
    )
    got = await bench.ask(raw=raw)
    assert got.head.status == 200
    assert seen == [raw]


async def test_each_domain_has_its_own_isolation_secret(bench):
    seen = []
    original = bench.backend.open

    async def spy(request):
        seen.append(request.isolation)
        return await original(request)

    bench.backend.open = spy
    for domain in ("acme", "acme", "other"):
        await bench.ask({"model": "echo", "messages": MESSAGES}, grant={"domain": domain})
    assert len(seen[0]) == 32
    assert seen[0] == seen[1] != seen[2]


async def test_the_request_id_is_outside_and_inside(bench):
    got = await bench.ask({"model": "echo", "messages": MESSAGES}, request_id="abc-1")
    assert got.headers[b"confide-request-id"] == b"abc-1"
    assert dict(got.head.headers)[b"x-request-id"] == b"abc-1"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/nothing", 404, "route_not_found"),
        ("POST", "/", 404, "route_not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/files", 501, "not_implemented"),
        ("GET", "/v1/vector_stores/x", 501, "not_implemented"),
        ("POST", "/v1/audio/speech", 501, "not_implemented"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/v1/responses/resp_1", 404, "not_stored"),
        ("DELETE", "/v1/responses/resp_1", 404, "not_stored"),
        ("POST", "/v1/responses/resp_1/cancel", 404, "not_stored"),
        ("GET", "/v1/responses/resp_1/input_items", 404, "not_stored"),
        ("POST", "/v1/responses/input_tokens", 501, "not_implemented"),
        ("POST", "/v1/conversations", 501, "not_implemented"),
        ("DELETE", "/v1/files/x", 501, "not_implemented"),
        ("POST", "/v1/vector_stores/x/search", 501, "not_implemented"),
        ("POST", "/v1/moderations", 501, "not_implemented"),
    ],
)
async def test_routes_that_do_not_exist_are_refused_inside_the_seal(
    bench, method, path, status, code
):
    got = await bench.ask({"model": "echo"}, method=method, path=path)
    assert got.status == 200
    assert (got.head.status, got.error["code"]) == (status, code)
    assert set(got.error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[1,2]",
        b'"text"',
        b"null",
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"model":"echo"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model":"echo","model":"second","messages":[]}',
    ],
)
async def test_a_body_that_is_no_json_object_is_a_sealed_400(bench, raw):
    got = await bench.ask(raw=raw)
    assert got.status == 200
    assert (got.head.status, got.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": MESSAGES}, "model"),
        ({"model": 7, "messages": MESSAGES}, "model"),
        ({"model": "", "messages": MESSAGES}, "model"),
        ({"model": "echo"}, "messages"),
        ({"model": "echo", "messages": MESSAGES, "stream": "yes"}, "stream"),
        ({"model": "echo", "messages": MESSAGES, "n": 2}, "n"),
    ],
)
async def test_a_400_names_the_field_at_fault(bench, body, param):
    got = await bench.ask(body)
    assert (got.head.status, got.error["param"]) == (400, param)


async def test_an_unknown_model_is_a_404_that_names_what_the_caller_may_use(bench):
    got = await bench.ask(
        {"model": "absent", "messages": MESSAGES}, grant={"models": ("absent", "second")}
    )
    assert (got.head.status, got.error["code"]) == (404, "model_not_found")
    assert "second" in got.error["message"]
    assert "echo" not in got.error["message"]


async def test_a_prompt_that_does_not_fit_has_openais_code(make_bench):
    async with make_bench(echo={"context_length": 2}) as bench:
        got = await bench.ask({"model": "echo", "messages": MESSAGES})
    assert (got.head.status, got.error["code"]) == (400, "context_length_exceeded")


async def test_a_backend_that_refuses_is_a_sealed_503(make_bench):
    async with make_bench(echo={"fail": "open"}) as bench:
        got = await bench.ask({"model": "echo", "messages": MESSAGES})
    assert (got.head.status, got.error["code"]) == (503, "model_unavailable")
    assert dict(got.head.headers)[b"retry-after"] == b"1"
    assert got.usage.outcome == "failed"


async def test_a_backend_that_dies_midway_is_an_error_event_and_a_sealed_end(make_bench):
    async with make_bench(echo={"fail": "midstream", "fail_after": 2}) as bench:
        got = await bench.ask({"model": "echo", "messages": MESSAGES, "stream": True})
    last = got.body.split(b"\n\n")[-2]
    assert json.loads(last[6:])["error"]["type"] == "server_error"
    assert b"[DONE]" not in got.body
    assert got.usage.outcome == "failed"


async def test_a_defect_of_a_handler_is_a_sealed_500_without_detail(bench):
    async def broken(*_):
        raise RuntimeError("the secret prompt")

    bench.parts.router.route = broken
    got = await bench.ask({"model": "echo", "messages": MESSAGES})
    assert (got.status, got.head.status, got.error["code"]) == (200, 500, "internal_error")
    assert b"secret" not in got.body
    assert got.usage.outcome == "failed"


async def test_a_defect_in_mid_stream_still_ends_under_the_seal(bench):
    original = bench.parts.router.route

    async def broken(*arguments):
        routed = await original(*arguments)

        async def body():
            async for events in routed.body:
                yield events
                raise RuntimeError("the secret prompt")

        routed_body = body()
        routed.body = routed_body
        return routed

    bench.parts.router.route = broken
    got = await bench.ask({"model": "echo", "messages": MESSAGES, "stream": True})
    assert b'"error"' in got.body
    assert b"secret" not in got.body
    assert got.usage.outcome == "failed"
