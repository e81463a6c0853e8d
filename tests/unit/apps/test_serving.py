"""The server bounds what uvicorn leaves open, and says clearly why it does not start."""

import asyncio
import contextlib

import pytest
import uvicorn

from confide.apps.serving import MAX_HEAD, BoundedProtocol, _JoiningTransport, listen, serve
from confide.errors import ConfigError


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    length = 0
    more = True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(application, protocol=BoundedProtocol):
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        application, http=protocol, lifespan="off", log_config=None, ws="none", access_log=False
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    yield listener.getsockname()[1]
    await server.shutdown(sockets=[listener])


@pytest.fixture
async def port():
    async with serving(app) as number:
        yield number


async def talk(port, *pieces):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        return head, await reader.readexactly(length)
    finally:
        writer.close()


def request(body=b"", filler=0):
    return (
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: "
        + str(len(body)).encode()
        + b"\r\nx-filler: "
        + b"y" * filler
        + b"\r\n\r\n"
        + body
    )


async def test_a_long_body_is_not_taken_for_a_long_head(port):
    _, body = await talk(port, request(b"z" * 1_000_000))
    assert body == b"1000000"


async def test_requests_on_one_connection_are_bounded_one_by_one(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(20):
        writer.write(request(b"z" * 10, filler=10_000))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert b" 200 " in head
        assert await reader.readexactly(2) == b"10"
    writer.close()


async def test_a_head_that_stays_open_past_64_kib_ends_the_connection(port):
    head, _ = await talk(port, b"POST / HTTP/1.1\r\nhost: x\r\nx-filler: " + b"y" * (MAX_HEAD + 1))
    assert b" 400 " in head


async def test_a_request_line_past_64_kib_ends_the_connection(port):
    head, _ = await talk(port, b"GET /" + b"y" * (MAX_HEAD + 1))
    assert b" 400 " in head


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_short_trailers_are_dropped_and_the_connection_goes_on(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(CHUNKED + b"3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert b" 200 " in head
        assert await reader.readexactly(1) == b"3"
    writer.close()


@pytest.mark.parametrize("line", [b"x-t: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_trailers_past_64_kib_end_the_connection(port, line):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(CHUNKED + b"3\r\nabc\r\n0\r\n")
    await writer.drain()

    async def send_on():
        for _ in range(500):
            writer.write(line * 100)
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 10)
    writer.close()


class Head:
    """Counts the headers a request has when it is handed on, and later."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        await app(scope, receive, send)


async def test_a_trailer_is_no_header():
    seen = Head()
    async with serving(seen) as port:
        await talk(port, CHUNKED, b"0\r\nauthorization: x\r\n\r\n")
    assert [name for name, _ in seen.scopes[0]["headers"]] == [b"host", b"transfer-encoding"]


class Hasty(BoundedProtocol):
    head_within_s = 0.2


@pytest.mark.parametrize("first", [b"", b"G", b"POST / HTTP/1.1\r\nhost: x\r\nx: "])
async def test_a_connection_without_a_whole_head_is_closed_in_time(first):
    async with serving(app, Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_the_head_of_a_later_request_has_the_same_time():
    async with serving(app, Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(b"z"))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n1"), 10)
        writer.write(b"GET / HT")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_long_body_and_a_silent_connection_have_more_time_than_a_head():
    async with serving(app, Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(request(b"zz")[:-1])
            await asyncio.sleep(0.4)  # twice the time of a head
            writer.write(b"z")
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n2"), 10)
            await asyncio.sleep(0.4)
        writer.close()


async def test_a_connection_that_sends_on_behind_a_refusal_is_closed():
    async def refuse(scope, receive, send):
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with serving(refuse, Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CHUNKED)
        assert b" 403 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)

        async def send_on():
            while True:
                writer.write(b"5\r\nabcde\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(), 5)
        writer.close()


def test_an_occupied_port_is_one_clear_error():
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError) as refusal:
            listen("127.0.0.1", port)
    assert f"127.0.0.1:{port}" in str(refusal.value)
    assert refusal.value.hint


def test_a_start_that_fails_raises_what_the_application_says():
    error = ConfigError("the model is broken")

    async def broken(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": ""})

    with listen("127.0.0.1", 0) as listener, pytest.raises(ConfigError) as caught:
        serve(broken, listener, drain_s=1, startup_error=lambda: error)
    assert caught.value is error


class Wire:
    """A transport that notes what was written and whether it was closed."""

    def __init__(self):
        self.log = []

    def write(self, content):
        self.log.append(content)

    def close(self):
        self.log.append("closed")

    def is_closing(self):
        return "closed" in self.log


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


async def test_a_head_leaves_with_the_body_that_follows_it():
    wire = Wire()
    joined = _JoiningTransport(wire, asyncio.get_running_loop())
    joined.write(HEAD)
    joined.write(b"body")
    joined.write(b"more")
    await asyncio.sleep(0)
    assert wire.log == [HEAD + b"body", b"more"]


async def test_a_head_that_nothing_follows_leaves_in_the_same_turn():
    wire = Wire()
    _JoiningTransport(wire, asyncio.get_running_loop()).write(HEAD)
    await asyncio.sleep(0)
    assert wire.log == [HEAD]


async def test_a_head_leaves_before_the_connection_is_closed():
    wire = Wire()
    joined = _JoiningTransport(wire, asyncio.get_running_loop())
    joined.write(HEAD)
    joined.close()
    await asyncio.sleep(0)
    assert wire.log == [HEAD, "closed"]
