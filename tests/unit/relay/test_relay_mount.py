"""A mounted relay hands on what the protocol knows, byte for byte, and nothing else."""

import asyncio
import time

import pytest
from tests.unit.gateway.doubles import PREFIX_LENGTH, sealed
from tests.unit.relay.conftest import KEY, TOKEN, mounted

from confide.errors import ConfigError, PermissionDenied, RateLimited
from confide.relay import Relay, anyone
from confide.wire.media_types import PROBLEM

DIGEST = "ab" * 32
NONCE = "cd" * 32
EVIDENCE = f"/.well-known/confide/evidence/{DIGEST}?nonce={NONCE}"
KEYS = "/.well-known/confide/keys"


async def refused(client, status, code):
    assert await client.status() == status
    assert client.headers["x-content-type-options"] == "nosniff"
    problem = await client.problem()
    assert problem["code"] == code
    return problem


async def test_a_request_and_its_answer_arrive_byte_for_byte(relay, gateway):
    body = sealed(body=bytes(range(256)))
    client = await relay.post(body, extra=[("confide-document", DIGEST)])
    assert await client.status() == 200
    assert await client.body() == b"sealed answer"
    request = await gateway.next_request()
    assert bytes(request.body) == body
    assert request.target == "/v1/sealed"
    assert request.headers["confide-document"] == DIGEST


async def test_only_listed_headers_cross_and_the_key_is_the_servers(relay, gateway):
    async def answer(request):
        request.writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-chunked-res\r\nincremental: ?1\r\n"
            b"confide-request-id: abc\r\nset-cookie: a=b\r\nserver: x\r\n"
            b"access-control-allow-origin: *\r\ncontent-length: 2\r\n\r\nok"
        )

    gateway.answer = answer
    extra = [("cookie", "session=1"), ("user-agent", "x"), ("x-forwarded-for", "192.0.2.1"),
             ("confide-grant", "forged"), ("confide-request-id", "forged")]  # fmt: skip
    client = await relay.post(sealed(), extra=extra)
    assert await client.status() == 200
    request = await gateway.next_request()
    assert set(request.headers) == {
        "host", "authorization", "content-type", "content-length", "incremental",
    }  # fmt: skip
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert TOKEN not in str(request.headers)
    assert set(client.headers) - {"date", "server"} == {
        "content-type", "content-length", "incremental", "confide-request-id",
        "x-content-type-options",
    }  # fmt: skip
    assert client.headers["confide-request-id"] == "abc"
    assert client.headers["server"] != "x"


async def test_pieces_go_on_as_they_come_in_both_directions(relay, gateway):
    go = asyncio.Event()

    async def answer(request):
        await gateway.head(request)
        await gateway.chunk(request, b"first")
        await go.wait()
        await gateway.chunk(request, b"second")
        await gateway.end(request)

    gateway.answer = answer
    body = sealed(body=b"tail")
    client = await relay.post(body[:-4], length=len(body))
    assert await client.status() == 200
    assert await client.chunk() == b"first"
    request = await gateway.next_request()
    assert not request.whole.is_set()
    client.writer.write(b"tail")
    go.set()
    assert await client.chunk() == b"second"
    async with asyncio.timeout(5):
        await request.whole.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_user_who_goes_ends_the_request_at_the_gateway(relay, gateway, begun):
    async def answer(request):
        if begun:
            await gateway.head(request)
            await gateway.chunk(request, b"first")
        await request.gone.wait()

    gateway.answer = answer
    client = await relay.post(sealed())
    request = await gateway.next_request()
    if begun:
        assert await client.status() == 200
    else:
        async with asyncio.timeout(5):
            await request.whole.wait()
    gone = time.monotonic()
    client.close()
    async with asyncio.timeout(5):
        await request.gone.wait()
    assert request.gone_at - gone < 1.0


async def test_a_gateway_that_dies_in_the_middle_cuts_the_users_connection(relay, gateway):
    async def answer(request):
        await gateway.head(request)
        await gateway.chunk(request, b"first")
        request.writer.transport.abort()

    gateway.answer = answer
    client = await relay.post(sealed())
    assert await client.status() == 200
    with pytest.raises(asyncio.IncompleteReadError):
        await client.body()


async def test_a_gateway_that_dies_before_it_answers_is_said(relay, gateway):
    async def answer(request):
        request.writer.transport.abort()

    gateway.answer = answer
    await refused(await relay.post(sealed()), 502, "gateway-lost")
    assert len(gateway.requests) == 1, "it may have begun, so it is not sent again"


async def test_no_gateway_is_a_problem_document(relay, gateway):
    await gateway.shut()
    problem = await refused(await relay.post(sealed()), 503, "gateway-unreachable")
    assert str(gateway.port) not in str(problem)
    await refused(await relay.get(KEYS), 503, "gateway-unreachable")


async def test_a_refusal_of_the_gateway_passes_unchanged(relay, gateway):
    async def answer(request):
        request.writer.write(
            b"HTTP/1.1 429 X\r\ncontent-type: application/problem+json\r\nretry-after: 7\r\n"
            b'content-length: 16\r\n\r\n{"status":429 } '
        )

    gateway.answer = answer
    client = await relay.post(sealed())
    assert await client.status() == 429
    assert client.headers["retry-after"] == "7"
    assert await client.body() == b'{"status":429 } '


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_server_key_is_not_the_users_fault(relay, gateway, status):
    async def answer(request):
        await gateway.reply(request, status, b'{"detail": "ck_of"}', kind=PROBLEM.encode())

    gateway.answer = answer
    problem = await refused(await relay.post(sealed()), 502, "relay-key-refused")
    assert "ck_of" not in str(problem)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, b"text/html"),
        (200, b"application/json"),
        (200, PROBLEM.encode()),
        (302, b"message/ohttp-chunked-res"),
        (404, b"text/html"),
        (500, b"message/ohttp-chunked-res"),
    ],
)
async def test_what_is_not_of_the_protocol_does_not_appear_under_our_origin(
    relay, gateway, status, kind
):
    async def answer(request):
        await gateway.reply(request, status, b"<script>", kind=kind)

    gateway.answer = answer
    gateway.status, gateway.kind = status, kind.decode()
    for client in (await relay.post(sealed()), await relay.get(KEYS), await relay.get(EVIDENCE)):
        problem = await refused(client, 502, "gateway-unexpected")
        assert "<script>" not in str(problem)


# ---- public documents --------------------------------------------------------------------------


@pytest.mark.parametrize("target", [KEYS, EVIDENCE])
async def test_public_documents_come_unchanged_and_without_a_credential(relay, gateway, target):
    client = await relay.get(target, ("authorization", f"Bearer {TOKEN}"), ("cookie", "a=b"))
    assert await client.status() == 200
    assert await client.body() == b'{"of": "the gateway"}'
    assert set(client.headers) - {"date", "server"} == {
        "content-type", "content-length", "x-content-type-options",
    }  # fmt: skip
    (request,) = gateway.looked_up
    assert request.target == target
    assert set(request.headers) == {"host", "content-length"}


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/.well-known/confide/evidence/xyz?nonce=" + NONCE, 404, "route-not-found"),
        (f"/.well-known/confide/evidence/{DIGEST}", 400, "bad-nonce"),
        (f"/.well-known/confide/evidence/{DIGEST}?nonce={NONCE}&a=b", 400, "bad-nonce"),
        ("/v1/key", 404, "route-not-found"),
        ("/metrics", 404, "route-not-found"),
        ("/healthz", 404, "route-not-found"),
        ("/v1/sealed/../key", 404, "route-not-found"),
        ("/.well-known/confide/endpoints.json", 404, "route-not-found"),
        ("/v1/sealed", 405, "method-not-allowed"),
    ],
)
async def test_other_routes_of_the_gateway_are_not_there(relay, gateway, target, status, code):
    await refused(await relay.get(target), status, code)
    assert gateway.looked_up == []


async def test_one_address_cannot_use_up_everybodys_challenges(gateway):
    async with mounted(gateway.url, challenges_per_minute=2, monotonic=lambda: 1.0) as relay:
        for _ in range(2):
            assert await (await relay.get(EVIDENCE)).status() == 200
        client = await relay.get(EVIDENCE)
        await refused(client, 429, "rate-limited")
        assert int(client.headers["retry-after"]) >= 1
    assert len(gateway.looked_up) == 2


async def test_a_document_that_is_too_long_is_not_read(relay, gateway):
    async def endless(request):
        request.writer.write(
            b"HTTP/1.1 200 X\r\ncontent-type: a/b\r\ncontent-length: 9999999\r\n\r\n"
        )
        request.writer.write(b"x" * 9999999)
        await request.writer.drain()

    gateway._plain = endless
    await refused(await relay.get(KEYS), 502, "gateway-lost")


# ---- who may use it ------------------------------------------------------------------------------


async def say_nothing(scope):
    pass


async def deny(scope):
    raise PermissionDenied("not on this plan")


def slow_down(scope):
    raise RateLimited("later", retry_after=3)


@pytest.mark.parametrize(
    ("authorize", "status", "code"),
    [
        (lambda scope: None, 401, "invalid-api-key"),
        (lambda scope: False, 401, "invalid-api-key"),
        (say_nothing, 401, "invalid-api-key"),
        (deny, 403, "permission-denied"),
        (slow_down, 429, "rate-limited"),
    ],
    ids=["none", "false", "async-none", "denied", "limited"],
)
async def test_who_is_not_clearly_admitted_is_refused(gateway, authorize, status, code):
    async with mounted(gateway.url, authorize=authorize) as relay:
        await refused(await relay.post(sealed()), status, code)
    assert gateway.requests == []


async def test_a_check_that_crashes_admits_nobody(gateway):
    def crash(scope):
        raise KeyError("session")

    async with mounted(gateway.url, authorize=crash) as relay:
        client = await relay.post(sealed())
        assert await client.status() == 500
    assert gateway.requests == []


async def test_an_asynchronous_check_may_admit(gateway):
    async def ada(scope):
        return {"user": "ada"}

    async with mounted(gateway.url, authorize=ada) as relay:
        assert await (await relay.post(sealed())).status() == 200


async def test_everybody_is_admitted_only_by_name(gateway):
    with pytest.raises(TypeError):
        Relay(gateway.url, api_key=KEY)
    async with mounted(gateway.url, authorize=anyone) as relay:
        assert await (await relay.post(sealed(), token="")).status() == 200


# ---- sizes and malformed heads -------------------------------------------------------------------


async def test_a_request_over_the_limit_is_refused_before_it_is_read(gateway):
    async with mounted(gateway.url, max_bytes=PREFIX_LENGTH + 10) as relay:
        client = await relay.post(b"", length=PREFIX_LENGTH + 11)
        await refused(client, 413, "request-too-large")
    assert gateway.requests == []


async def test_a_request_without_a_length_is_counted(gateway):
    async with mounted(gateway.url, max_bytes=PREFIX_LENGTH + 10) as relay:
        client = await relay.connect()
        client.head(
            "POST",
            "/confide/v1/sealed",
            [
                ("authorization", f"Bearer {TOKEN}"),
                ("content-type", "message/ohttp-chunked-req"),
                ("transfer-encoding", "chunked"),
            ],
        )
        piece = b"x" * (PREFIX_LENGTH + 11)
        client.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece))
        await refused(client, 413, "request-too-large")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"kind": "application/json"}, 415, "unsupported-media-type"),
        ({"extra": [("content-type", "message/ohttp-chunked-req")]}, 400, "bad-request"),
        ({"extra": [("confide-document", "x")]}, 400, "bad-request"),
        ({"extra": [("confide-document", DIGEST)] * 2}, 400, "bad-request"),
        ({"extra": [("confide-document", DIGEST.upper())]}, 400, "bad-request"),
    ],
    ids=["media-type", "media-type-twice", "document", "document-twice", "document-upper-case"],
)
async def test_a_malformed_head_is_refused(relay, gateway, options, status, code):
    await refused(await relay.post(sealed(), **options), status, code)
    assert gateway.requests == []


@pytest.mark.parametrize(
    "gateway_url",
    ["", "gateway.example.org", "ftp://gateway.example.org", "https://key@gateway.example.org",
     "https://gateway.example.org?a=b", "https://gateway.example.org/a b", "https://"],
)  # fmt: skip
def test_an_unusable_url_is_refused(gateway_url):
    with pytest.raises(ConfigError):
        Relay(gateway_url, api_key=KEY, authorize=anyone)


@pytest.mark.parametrize("key", ["", "a b", "a\r\nx: y", "schlüssel"])
def test_an_unusable_key_is_refused_and_not_repeated(key):
    with pytest.raises(ConfigError) as caught:
        Relay("https://gateway.example.org", api_key=key, authorize=anyone)
    assert not key or key not in str(caught.value)


async def test_a_gateway_below_a_path_is_found(gateway):
    async with mounted(f"{gateway.url}/llm/") as relay:
        assert await (await relay.get(KEYS)).status() == 200
    assert gateway.looked_up[0].target == f"/llm{KEYS}"


async def test_it_also_stands_alone(gateway):
    """Without a mount the life cycle reaches it, and its routes are at the root."""
    sent = []

    async def send(message):
        sent.append(message)

    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    relay = Relay(gateway.url, api_key=KEY, authorize=anyone)
    await relay({"type": "lifespan"}, receive, send)
    assert [m["type"] for m in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_closed(relay):
    sent = []

    async def send(message):
        sent.append(message)

    await relay.relay({"type": "websocket", "path": "/v1/sealed"}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
