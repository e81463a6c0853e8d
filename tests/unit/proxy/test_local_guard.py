"""Only this machine's own programs reach the proxy; sizes are bounded."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.sealed_stack import Inner

from confide.proxy.local_guard import LocalGuard

ASK = b'{"model":"m","messages":[]}'


def answer_to(headers, **options):
    """Status the guard answers with; 200 if it lets the request pass."""
    status = []

    async def app(scope, receive, send):
        status.append(200)

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])

    guard = LocalGuard(app, port=options.pop("port", 8000), **options)
    asyncio.run(guard({"type": "http", "headers": headers}, None, send))
    (only,) = status
    return only


def host(value):
    return (b"host", value.encode("latin-1"))


@pytest.mark.parametrize(
    "value", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LocalHost:8000"]
)
def test_the_names_of_this_machine_pass(value):
    assert answer_to([host(value)]) == 200


@pytest.mark.parametrize(
    "value",
    [
        "rebound.example:8000",
        "localhost.rebound.example:8000",
        "127.0.0.1.rebound.example:8000",
        "127.0.0.1:80",
        "127.0.0.1",
        "127.0.0.2:8000",
        "localhost.:8000",
        "localhost:8000@rebound.example",
        "rebound.example",
        "",
        "0.0.0.0:8000",
        "\xad127.0.0.1:8000",
    ],
)
def test_a_rebound_name_is_refused(value):
    assert answer_to([host(value)]) == 403


def test_a_missing_or_doubled_host_is_refused():
    assert answer_to([]) == 403
    assert answer_to([host("localhost:8000"), host("rebound.example:8000")]) == 403


def test_port_80_may_be_left_out_only_on_port_80():
    assert answer_to([host("localhost")], port=80) == 200
    assert answer_to([host("localhost:80")], port=80) == 200


def test_configured_names_pass_with_the_right_port():
    assert answer_to([host("proxy:8000")], hosts=["proxy"]) == 200
    assert answer_to([host("proxy:9000")], hosts=["proxy:9000"]) == 200
    assert answer_to([host("proxy:9000")], hosts=["proxy"]) == 403


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173", "http://LOCALHOST:1"],
)
def test_pages_of_this_machine_may_call(origin):
    assert answer_to([host("localhost:8000"), (b"origin", origin.encode())]) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://localhost:3000.evil.example",
        "http://localhost@evil.example",
        "null",
        "",
        "file://",
        "chrome-extension://abcdef",
        "http://localhost:8000/x",
        "http://localhost\n:8000",
    ],
)
def test_any_other_page_is_refused(origin):
    assert answer_to([host("localhost:8000"), (b"origin", origin.encode())]) == 403


def test_a_second_origin_does_not_hide_behind_a_good_one():
    headers = [
        host("localhost:8000"),
        (b"origin", b"http://localhost"),
        (b"origin", b"http://evil"),
    ]
    assert answer_to(headers) == 403


def test_a_configured_origin_passes():
    headers = [host("localhost:8000"), (b"origin", b"https://app.example")]
    assert answer_to(headers, origins=["https://app.example"]) == 200


@given(st.binary(max_size=40))
def test_no_other_host_passes(value):
    known = {b"localhost:8000", b"127.0.0.1:8000", b"[::1]:8000"}
    expected = 200 if value.lower() in known else 403
    assert answer_to([(b"host", value)]) == expected


async def test_a_refusal_has_openais_shape_and_no_cors_header(make_client):
    answer = await make_client().get("/", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_preflight_is_not_answered(make_client):
    answer = await make_client().options(
        "/v1/chat/completions", headers={"origin": "http://localhost:3000"}
    )
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_headers_over_64_kb_are_refused(stack, make_client):
    answer = await make_client().post(
        "/v1/chat/completions", content=ASK, headers={"x-long": "a" * 65 * 1024}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")
    assert stack.posts == []


async def test_a_declared_length_over_the_limit_is_refused_unread(stack, make_client):
    answer = await make_client(body_limit=100).post("/v1/chat/completions", content=bytes(101))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert stack.posts == []


async def test_a_body_without_a_declared_length_is_counted(stack, make_client):
    async def pieces():
        for _ in range(11):
            yield bytes(10)

    answer = await make_client(body_limit=100).post("/v1/chat/completions", content=pieces())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert stack.posts == []


async def test_a_body_of_exactly_the_limit_passes(stack, make_client):
    stack.enclave.model = lambda request: Inner()
    answer = await make_client(body_limit=100).post("/v1/chat/completions", content=bytes(100))
    assert answer.status_code == 200
