"""The lean client accepts answers whose end is certain, in any crumbs, and nothing else."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from confide.errors import NoEnclaveAvailable, TransportError
from confide.gateway.upstream import EnclaveUpstream

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def server(answer):
    """Serve connections with `answer(reader, writer, number)`."""
    count = 0

    async def connected(reader, writer):
        nonlocal count
        count += 1
        try:
            await answer(reader, writer, count)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    serving = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = serving.sockets[0].getsockname()[1]
    upstream = EnclaveUpstream(f"http://127.0.0.1:{port}", idle_s=60)
    try:
        yield upstream
    finally:
        upstream.close()
        serving.close()


async def ask(upstream, limit=1 << 20):
    exchange = await upstream.open(b"GET", b"/", (), b"", length=0)
    try:
        async with asyncio.timeout(5):
            await exchange.head()
            return exchange.status, await exchange.read(limit)
    finally:
        exchange.close()


def replies(*pieces, keep=False):
    async def answer(reader, writer, _):
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if keep:
            await reader.read()

    return answer


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.booleans(),
    st.lists(st.integers(1, 60), min_size=1, max_size=60),
)
def test_an_answer_is_the_same_however_it_is_cut_into_pieces(parts, chunked, cuts):
    body = b"".join(parts)
    if chunked:
        raw = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    else:
        raw = OK + b"content-length: %d\r\n\r\n" % len(body) + body
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(raw[at : at + cut])
        at += cut
    pieces.append(raw[at:])

    async def run():
        async with server(replies(*pieces, keep=True)) as upstream:
            return await ask(upstream)

    assert asyncio.run(run()) == (200, body)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_end_in_an_answer_or_one_error(noise, after_a_head):
    async def run():
        async with server(replies(CHUNKED + noise if after_a_head else noise)) as upstream:
            try:
                status, _ = await ask(upstream)
            except TransportError:
                return None
            return status

    assert asyncio.run(run()) in {None, 200} or not after_a_head


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 200), st.booleans())
def test_an_answer_cut_at_any_byte_is_never_a_whole_one(cut, chunked):
    body = b"x" * 50
    if chunked:
        raw = CHUNKED + b"19\r\n" + body[:25] + b"\r\n19\r\n" + body[25:] + b"\r\n0\r\n\r\n"
    else:
        raw = OK + b"content-length: 50\r\n\r\n" + body

    async def run():
        async with server(replies(raw[: min(cut, len(raw) - 1)])) as upstream:
            with pytest.raises(TransportError):
                await ask(upstream)

    asyncio.run(run())


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"\r\nno length at all",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nab",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 2x\r\n\r\nab",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip\r\n\r\n",
        OK + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
        OK + b"x: a\r\n" * 20_000 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"fffffffffffffffff\r\n",
        CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
        OK + b"bad header\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_an_answer_whose_end_is_not_certain_is_refused(raw):
    async with server(replies(raw)) as upstream:
        with pytest.raises(TransportError):
            await ask(upstream)


async def test_an_answer_without_a_length_is_refused_before_its_body():
    async with server(replies(OK + b"\r\n", keep=True)) as upstream:
        with pytest.raises(TransportError):
            await ask(upstream)


async def test_informational_answers_are_skipped():
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with server(replies(early + OK + b"content-length: 2\r\n\r\nab")) as upstream:
        assert await ask(upstream) == (200, b"ab")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_needs_no_length(status):
    async with server(replies(b"HTTP/1.1 %d X\r\n\r\n" % status, keep=True)) as upstream:
        assert await ask(upstream) == (status, b"")


async def test_a_body_over_the_limit_is_refused():
    async with server(replies(OK + b"content-length: 11\r\n\r\n" + b"x" * 11)) as upstream:
        with pytest.raises(TransportError):
            await ask(upstream, limit=10)


async def test_a_connection_is_used_again():
    async def answer(reader, writer, number):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"content-length: 1\r\n\r\n%d" % number)

    async with server(answer) as upstream:
        assert [await ask(upstream) for _ in range(3)] == [(200, b"1")] * 3


async def test_a_connection_that_said_close_is_not_used_again():
    raw = OK + b"connection: close\r\ncontent-length: 1\r\n\r\n"

    async def answer(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw + b"%d" % number)
        await reader.read()

    async with server(answer) as upstream:
        assert [await ask(upstream) for _ in range(2)] == [(200, b"1"), (200, b"2")]


async def test_a_connection_with_half_an_upload_is_not_used_again():
    async def answer(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: 1\r\n\r\n%d" % number)
        await reader.read()

    async with server(answer) as upstream:
        exchange = await upstream.open(b"POST", b"/", (), b"half", length=8)
        await exchange.head()
        assert await exchange.read(10) == b"1"
        exchange.close()
        assert await ask(upstream) == (200, b"2")


async def test_bytes_after_an_answer_are_not_taken_for_the_next_one():
    forged = OK + b"content-length: 6\r\n\r\nforged"

    async def answer(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        extra = forged if number == 1 else b""
        writer.write(OK + b"content-length: 1\r\n\r\n%d" % number + extra)
        await reader.read()

    async with server(answer) as upstream:
        assert await ask(upstream) == (200, b"1")
        assert await ask(upstream) == (200, b"2")


async def test_a_connection_that_spoke_unasked_is_not_used_again():
    asked = asyncio.Event()

    async def answer(reader, writer, number):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: 1\r\n\r\n%d" % number)
        await writer.drain()
        if number == 1:
            await asked.wait()
            writer.write(b"HTTP/1.1 ")
            await writer.drain()
        await reader.read()

    async with server(answer) as upstream:
        assert await ask(upstream) == (200, b"1")
        asked.set()
        async with asyncio.timeout(2):
            while upstream._all:
                await asyncio.sleep(0)
        assert await ask(upstream) == (200, b"2")


async def test_a_connection_that_went_stale_is_replaced_without_sending_twice():
    requests = 0

    async def answer(reader, writer, number):
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(OK + b"content-length: 1\r\n\r\n%d" % number)  # then closes: keep-alive over

    async with server(answer) as upstream:
        assert await ask(upstream) == (200, b"1")
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert await ask(upstream) == (200, b"2")
    assert requests == 2


async def test_an_answer_that_is_not_complete_is_aborted_by_close():
    gone = asyncio.Event()

    async def answer(reader, writer, _):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await reader.read()
        gone.set()

    async with server(answer) as upstream:
        exchange = await upstream.open(b"GET", b"/", (), b"", length=0)
        await exchange.head()
        assert await exchange.chunk() == b"x"
        exchange.close()
        async with asyncio.timeout(2):
            await gone.wait()
        with pytest.raises(TransportError):
            await exchange.chunk()


async def test_a_silent_enclave_is_given_up_on():
    async def answer(reader, writer, _):
        await reader.read()

    async with server(answer) as upstream:
        upstream._idle_s = 0.05
        with pytest.raises(TransportError):
            await ask(upstream)


async def test_no_connection_is_no_enclave():
    async with server(replies()) as upstream:
        pass
    with pytest.raises(NoEnclaveAvailable):
        await ask(upstream)


async def test_the_number_of_connections_is_bounded():
    async with server(replies(keep=True)) as upstream:
        upstream._max = 2
        for _ in range(2):
            await upstream.open(b"GET", b"/", (), b"", length=0)
        with pytest.raises(NoEnclaveAvailable):
            await upstream.open(b"GET", b"/", (), b"", length=0)


@pytest.mark.parametrize("before", [OK + b"x: ", OK, CHUNKED + b"0\r\nt: ", CHUNKED + b"5;"])
async def test_a_header_line_without_end_is_refused_at_64_kb(before):
    sent = 0

    async def endless(reader, writer, _):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(before)
        while sent < 8_000_000:
            writer.write(b"y" * 10_000)
            await writer.drain()
            sent += 10_000
        await reader.read()

    async with server(endless) as upstream:
        with pytest.raises(TransportError):
            await ask(upstream)
    assert sent < 8_000_000


async def test_informational_answers_without_end_are_refused():
    early = b"HTTP/1.1 103 Early Hints\r\nlink: " + b"x" * 1000 + b"\r\n\r\n"
    async with server(replies(*[early] * 200, keep=True)) as upstream:
        with pytest.raises(TransportError):
            await ask(upstream)
