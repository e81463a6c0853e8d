"""Bytes are copied both ways as they come; when one side goes, the other learns it at once."""

import asyncio
import time

import jwt
import pytest
from tests.unit.gateway.doubles import PREFIX_LENGTH, sealed, until

from confide.gateway.accounts import Accounts
from confide.gateway.connection import HIGH_WATER
from confide.identity.records import DomainRecord
from confide.wire.envelope import envelope_digest
from confide.wire.grants import Grant

ABORT_S = 0.05


async def test_a_request_and_its_answer_arrive_byte_for_byte(gateway, enclave, connect):
    body = sealed(body=bytes(range(256)))
    client = await connect()
    client.post(gateway.api_key, body, document=enclave.document.sha256_hex)
    assert await client.status() == 200
    assert await client.body() == b"sealed answer"
    assert client.headers["content-type"] == "message/ohttp-chunked-res"
    request = await enclave.next_request()
    assert bytes(request.body) == body
    assert client.headers["confide-request-id"] == request.headers["confide-request-id"]


async def test_only_listed_headers_cross_in_either_direction(gateway, enclave, connect):
    async def answer(request):
        await enclave.head(request)
        await enclave.end(request)

    enclave.answer = answer
    client = await connect()
    extra = [("user-agent", "x"), ("cookie", "a=b"), ("confide-grant", "forged"), ("x-a", "b")]
    client.post(gateway.api_key, sealed(), extra=extra)
    assert await client.status() == 200
    assert await client.body() == b""
    request = await enclave.next_request()
    assert set(request.headers) == {
        "host", "content-type", "content-length", "incremental", "confide-grant",
        "confide-request-id",
    }  # fmt: skip
    assert request.headers["confide-grant"] != "forged"
    assert set(client.headers) == {
        "date", "content-type", "incremental", "confide-request-id", "transfer-encoding",
    }  # fmt: skip


async def test_the_grant_names_the_caller_and_this_very_envelope(gateway, enclave, connect):
    body = sealed()
    client = await connect()
    client.post(gateway.api_key, body)
    await client.status()
    request = await enclave.next_request()
    token = request.headers["confide-grant"]
    claims = jwt.decode(
        token,
        gateway.state.grant_key.public_key(),
        algorithms=["EdDSA"],
        audience="confide-enclave",
        issuer="confide-gateway",
    )
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "confide-grant+jwt"}
    grant = Grant.from_claims(claims)
    assert (grant.domain, grant.key_id, grant.usage) == ("default", gateway.key_id, "bucketed")
    assert (grant.models, grant.expires_at - grant.issued_at) == (("*",), 60)
    assert grant.request_id == client.headers["confide-request-id"]
    assert grant.envelope_digest == envelope_digest(body)


async def test_a_narrowed_domain_narrows_the_next_grant(gateway, enclave, connect):
    Accounts(gateway.settings.database).put_domain(
        DomainRecord("default", ("small",), ("chat",), "exact")
    )
    await until(gateway.parts.callers.refresh)
    client = await connect()
    client.post(gateway.api_key, sealed())
    await client.status()
    token = (await enclave.next_request()).headers["confide-grant"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["models"], claims["ops"], claims["usage"]) == (["small"], ["chat"], "exact")


async def test_the_first_byte_arrives_before_the_upstream_ends(gateway, enclave, connect):
    released = asyncio.Event()

    async def answer(request):
        await enclave.head(request)
        await enclave.chunk(request, b"first")
        await released.wait()
        await enclave.chunk(request, b"second")
        await enclave.end(request)

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    assert await client.status() == 200
    assert await client.chunk() == b"first"
    released.set()
    assert await client.chunk() == b"second"
    assert await client.chunk() == b""


async def test_an_upload_arrives_before_it_is_complete(gateway, enclave, connect):
    body = sealed(body=b"x" * 100_000)
    client = await connect()
    client.post(gateway.api_key, body[:PREFIX_LENGTH], length=len(body))
    request = await enclave.next_request()
    await until(lambda: len(request.body) == PREFIX_LENGTH)
    client.writer.write(body[PREFIX_LENGTH:])
    assert await client.status() == 200
    assert bytes(request.body) == body


async def test_a_chunked_upload_in_crumbs_is_relayed(gateway, enclave, connect):
    body = sealed(body=b"x" * 50)
    client = await connect()
    client.head(
        "POST",
        "/v1/sealed",
        [
            ("authorization", f"Bearer {gateway.api_key}"),
            ("content-type", "message/ohttp-chunked-req"),
            ("transfer-encoding", "chunked"),
        ],
    )
    for start in range(0, len(body), 50):
        piece = body[start : start + 50]
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await client.writer.drain()
        await asyncio.sleep(0)
    client.writer.write(b"0\r\n\r\n")
    assert await client.status() == 200
    request = await enclave.next_request()
    assert bytes(request.body) == body
    assert request.headers["transfer-encoding"] == "chunked"


async def test_a_caller_that_goes_before_the_headers_aborts_the_upstream(gateway, enclave, connect):
    async def answer(request):
        await request.gone.wait()

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    request = await enclave.next_request()
    await request.whole.wait()
    left_at = time.monotonic()
    client.close()
    async with asyncio.timeout(2):
        await request.gone.wait()
    assert request.gone_at - left_at <= ABORT_S
    await until(lambda: outcomes(gateway) == [("cancelled", 0)])
    assert gateway.parts.instruments.streams.value == 0


async def test_a_caller_that_goes_in_mid_stream_aborts_the_upstream(gateway, enclave, connect):
    async def answer(request):
        await enclave.head(request)
        await enclave.chunk(request, b"first")
        await request.gone.wait()

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    await client.status()
    await client.chunk()
    request = await enclave.next_request()
    left_at = time.monotonic()
    client.close()
    async with asyncio.timeout(2):
        await request.gone.wait()
    assert request.gone_at - left_at <= ABORT_S
    await until(lambda: outcomes(gateway) == [("cancelled", 5)])


async def test_a_caller_that_goes_in_mid_upload_aborts_the_upstream(gateway, enclave, connect):
    client = await connect()
    client.post(gateway.api_key, sealed(), length=1_000_000)
    request = await enclave.next_request()
    left_at = time.monotonic()
    client.close()
    async with asyncio.timeout(2):
        await request.gone.wait()
    assert request.gone_at - left_at <= ABORT_S
    await until(lambda: outcomes(gateway) == [("cancelled", 0)])


async def test_an_enclave_killed_in_mid_stream_cuts_the_caller_off(gateway, enclave, connect):
    async def answer(request):
        await enclave.head(request)
        await enclave.chunk(request, b"first")
        request.writer.transport.abort()

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    assert await client.status() == 200
    assert await client.chunk() == b"first"
    with pytest.raises(asyncio.IncompleteReadError):
        await client.chunk()
    await until(lambda: outcomes(gateway) == [("failed", 5)])


async def test_an_enclave_that_ends_short_of_its_content_length_cuts_the_caller_off(
    gateway, enclave, connect
):
    async def answer(request):
        await enclave.head(request, length=10)
        request.writer.write(b"short")
        request.writer.close()

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    assert await client.status() == 200
    with pytest.raises(asyncio.IncompleteReadError):
        await client.body()


async def test_an_enclave_that_goes_before_its_answer_is_a_502(gateway, enclave, connect):
    async def answer(request):
        request.writer.transport.abort()

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    assert await client.status() == 502
    assert (await client.problem())["code"] == "enclave-lost"
    assert len(enclave.requests) == 1  # never sent twice: it may have begun


async def test_an_answer_before_the_end_of_the_upload_is_passed_on(gateway, enclave, connect):
    enclave.answer = enclave.problem
    client = await connect()
    client.post(gateway.api_key, sealed(), length=30_000_000)
    assert await client.status() == 400
    assert await client.body() == b"{}"
    await until(lambda: outcomes(gateway) == [("refused", 2)])


async def test_a_connection_with_half_an_upload_carries_no_other_request(gateway, enclave, connect):
    enclave.answer = enclave.problem
    client = await connect()
    client.post(gateway.api_key, sealed(), length=30_000_000)
    assert await client.status() == 400
    enclave.answer = enclave.complete
    body = sealed()
    other = await connect()
    other.post(gateway.api_key, body)
    assert await other.status() == 200
    assert bytes((await enclave.next_request(2)).body) == body


async def test_a_caller_that_stops_reading_is_held_in_bounded_memory(gateway, enclave, connect):
    sent = 0

    async def answer(request):
        nonlocal sent
        await enclave.head(request)
        request.writer.transport.set_write_buffer_limits(high=0)
        while not request.gone.is_set():
            await enclave.chunk(request, b"x" * 65536)
            sent += 65536

    enclave.answer = answer
    client = await connect(limit=1024)
    client.post(gateway.api_key, sealed())
    await client.status()
    await stalls(lambda: sent)
    before = sent
    held = [c for c in gateway.parts.registry.enclaves[0].upstream._all if c.exchange]
    assert len(held) == 1
    # What the kernel's socket buffers took is not ours; what we hold is bounded.
    assert held[0].exchange.size <= HIGH_WATER + 256 * 1024
    assert sum(
        p.transport.get_write_buffer_size() for p in gateway.server.server_state.connections
    ) <= (HIGH_WATER + 512 * 1024)
    for _ in range(40):
        await client.chunk()
    await until(lambda: sent > before)


async def test_an_enclave_that_stops_reading_holds_the_caller_back(gateway, enclave, connect):
    async def answer(request):
        await asyncio.Event().wait()

    enclave.reads.clear()
    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed(), length=36_000_000)
    written = 0

    async def upload():
        nonlocal written
        while True:
            client.writer.write(b"x" * 65536)
            await client.writer.drain()
            written += 65536

    task = asyncio.ensure_future(upload())
    request = await enclave.next_request()
    await stalls(lambda: written)
    (used,) = [c for c in gateway.parts.registry.enclaves[0].upstream._all if c.exchange]
    assert used.transport.get_write_buffer_size() <= HIGH_WATER + 256 * 1024
    assert written < 36_000_000
    task.cancel()
    client.close()
    enclave.reads.set()
    async with asyncio.timeout(5):
        await request.gone.wait()


async def test_a_stop_signal_lets_the_stream_end_and_refuses_new_connections(
    gateway, enclave, connect
):
    released = asyncio.Event()

    async def answer(request):
        await enclave.head(request)
        await enclave.chunk(request, b"first")
        await released.wait()
        await enclave.chunk(request, b"last")
        await enclave.end(request)

    enclave.answer = answer
    client = await connect()
    client.post(gateway.api_key, sealed())
    await client.status()
    await client.chunk()
    gateway.server.should_exit = True

    def refuses():
        return not gateway.server.servers[0].is_serving() if gateway.server.servers else True

    await until(refuses)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", gateway.port)
    released.set()
    assert await client.chunk() == b"last"
    assert await client.chunk() == b""
    await until(lambda: outcomes(gateway) == [("complete", 9)])


def outcomes(gateway):
    return gateway.rows("SELECT outcome, bytes_down FROM requests")


async def stalls(read):
    """Wait until a number has not grown for a while."""
    last, since = read(), time.monotonic()
    while time.monotonic() - since < 0.3:
        await asyncio.sleep(0.01)
        if read() != last:
            last, since = read(), time.monotonic()
