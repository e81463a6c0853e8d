"""A connection cannot hold memory or stay for ever, whatever it sends or does not send."""

import asyncio
from contextlib import suppress

import pytest
from tests.unit.gateway.doubles import Client, sealed, until
from tests.unit.gateway.test_routes import refused

from confide.gateway import server as servers

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
TRAILERS = b"".join(b"t%d: %b\r\n" % (number, b"x" * 1000) for number in range(20))


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(servers, "_HEADER_S", 0.2)
    monkeypatch.setattr(servers, "_LINGER_S", 0.2)


async def sent_until_closed(client, piece, limit=4_000_000):
    sent = 0
    try:
        while sent < limit and not client.writer.is_closing():
            client.writer.write(piece)
            await client.writer.drain()
            sent += len(piece)
            await asyncio.sleep(0.001)
    except ConnectionError:
        pass
    return sent


async def closed(client, within_s=3):
    async with asyncio.timeout(within_s):
        with suppress(ConnectionError):
            await client.reader.read()


@pytest.mark.parametrize("piece", [TRAILERS, b"y" * 20_000, b"0;" + b"z" * 20_000])
@pytest.mark.parametrize("path", [b"/", b"/v1/sealed"])
async def test_trailers_without_end_close_the_connection(gateway, connect, piece, path):
    client = await connect()
    client.writer.write(CHUNKED_HEAD.replace(b" / ", b" %b " % path) + b"0\r\nt: ")
    assert await sent_until_closed(client, piece) < 2_000_000
    await closed(client)


async def test_trailers_without_end_during_an_upload_close_the_connection(gateway, connect):
    client = await connect()
    body = sealed()
    headers = [
        ("authorization", f"Bearer {gateway.api_key}"),
        ("content-type", "message/ohttp-chunked-req"),
        ("transfer-encoding", "chunked"),
    ]
    client.head("POST", "/v1/sealed", headers)
    client.writer.write(b"%x\r\n%b\r\n0\r\n" % (len(body), body))
    assert await sent_until_closed(client, TRAILERS) < 2_000_000
    await until(lambda: gateway.parts.instruments.streams.value == 0)


async def test_a_trailer_does_not_pass_for_a_header(gateway, enclave, connect):
    client = await connect()
    body = sealed()
    headers = [("content-type", "message/ohttp-chunked-req"), ("transfer-encoding", "chunked")]
    client.head("POST", "/v1/sealed", headers)
    trailer = b"authorization: Bearer " + gateway.api_key.encode()
    client.writer.write(b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(body), body, trailer))
    await refused(client, 401, "invalid-api-key")
    assert enclave.requests == []


async def test_a_refusal_before_the_body_is_readable_and_then_the_connection_ends(
    hurry, gateway, connect
):
    client = await connect()
    client.post("ck_wrong", b"x" * 1000, length=10_000_000)
    await refused(client, 401, "invalid-api-key")
    await closed(client)


async def test_after_a_refusal_and_a_whole_body_the_connection_goes_on(gateway, connect):
    client = await connect()
    client.post("ck_wrong", b"x" * 1000, length=2000)
    await refused(client, 401, "invalid-api-key")
    client.writer.write(b"x" * 1000)
    client.head("GET", "/healthz", [])
    assert await client.status() == 200


@pytest.mark.parametrize("sent", [b"", b"G", b"\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: "])
async def test_a_connection_that_makes_no_request_is_closed(hurry, gateway, connect, sent):
    client = await connect()
    client.writer.write(sent)
    await closed(client)


@pytest.mark.parametrize("sent", [b"G", b"\r\n"])
async def test_a_connection_that_makes_no_second_request_is_closed(hurry, gateway, connect, sent):
    client = await connect()
    client.head("GET", "/healthz", [])
    assert await client.status() == 200
    await client.body()
    client.writer.write(sent)
    await closed(client)


async def test_a_next_request_that_began_too_early_does_not_cut_the_answer(
    hurry, gateway, enclave, connect
):
    go = asyncio.Event()

    async def slow(request):
        await go.wait()
        await enclave.complete(request)

    enclave.answer = slow
    client = await connect()
    client.post(gateway.api_key, sealed())
    client.writer.write(b"GET /hea")
    await enclave.next_request()
    await asyncio.sleep(0.5)  # more than two limits
    go.set()
    assert await client.status() == 200
    assert await client.body() == b"sealed answer"
    await closed(client)


async def test_what_is_not_http_is_a_problem_with_an_id(gateway, connect):
    client = await connect()
    client.writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    await refused(client, 400, "bad-request")
    await closed(client)


async def test_an_endless_head_is_a_problem_with_an_id(gateway):
    client = await Client.connect(gateway.port)
    client.writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000)
    await refused(client, 431, "headers-too-large")
    client.close()
