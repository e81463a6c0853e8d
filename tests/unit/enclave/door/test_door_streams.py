"""A stream leaves on its beat, stops when the peer leaves, and always ends under the seal."""

import asyncio
import time

import pytest
from tests.unit.enclave.door.door_bench import MESSAGES, opened

from confide.errors import StreamTruncated
from confide.sealing.exchange import ResponseBody

STREAM = {"model": "echo", "messages": MESSAGES, "stream": True}
WORDS = [{"role": "user", "content": " ".join(f"w{n}" for n in range(300))}]


async def until(claim, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def chunk_lengths(peer):
    return [len(chunk) for chunk in peer.chunks]


async def test_without_a_tick_each_event_leaves_as_it_comes(make_bench):
    async with make_bench(echo={"token_delay_ms": 5}) as bench:
        sealed, opener = bench.seal(bench.inner(STREAM))
        peer = bench.post(sealed)
        got = opened(await peer.result(), opener)
    # head, at least one chunk per word, end
    assert len(peer.chunks) >= 2 + 4
    assert got.body.endswith(b"data: [DONE]\n\n")


async def test_on_a_beat_events_share_chunks_of_padded_length(make_bench):
    padding = 'profile = "bucket"\ntick_ms = 40'
    async with make_bench(padding=padding, echo={"token_delay_ms": 2}) as bench:
        sealed, opener = bench.seal(bench.inner({**STREAM, "messages": WORDS}))
        peer = bench.post(sealed)
        got = opened(await peer.result(), opener)
    assert got.body.count(b"data:") > 300
    assert b"confide-pad" not in got.body
    middle = peer.chunks[1:-1]
    assert len(middle) < 100
    # 16 bytes of tag, 2 or 4 of length: the plaintext is a multiple of 256
    assert {min((len(c) - 16 - n) % 256 for n in (2, 4)) for c in middle if len(c) < 16_000} == {0}
    assert got.usage.completion_tokens == 300


async def test_the_first_event_does_not_wait_for_the_beat(make_bench):
    padding = 'profile = "bucket"\ntick_ms = 10000'
    async with make_bench(padding=padding, echo={"token_delay_ms": 60_000}) as bench:
        sealed, opener = bench.seal(bench.inner(STREAM))
        peer = bench.post(sealed)
        await until(lambda: len(peer.chunks) == 2)
        events = opener.feed(b"".join(peer.chunks))
        assert any(isinstance(event, ResponseBody) for event in events)
        peer.leave()
        await peer.result()


async def test_the_constant_profile_sends_padding_while_the_model_is_silent(make_bench):
    padding = 'profile = "constant"\ntick_ms = 10'
    async with make_bench(padding=padding, echo={"token_delay_ms": 60_000}) as bench:
        sealed, opener = bench.seal(bench.inner(STREAM))
        peer = bench.post(sealed)
        await until(lambda: len(peer.chunks) > 12)
        assert len(set(chunk_lengths(peer)[1:])) == 1
        events = opener.feed(b"".join(peer.chunks))
        content = b"".join(e.content for e in events if isinstance(e, ResponseBody))
        assert content.count(b"data:") <= 2
        peer.leave()
        await peer.result()


async def test_whole_answers_are_padded_to_a_bucket(make_bench):
    padding = 'profile = "bucket"\ntick_ms = 100'
    async with make_bench(padding=padding) as bench:
        lengths = set()
        for text in ("a", "a b c d e", "word " * 20):
            got = await bench.ask(
                {"model": "echo", "messages": [{"role": "user", "content": text}]}
            )
            assert int(got.headers[b"content-length"]) == len(got.raw)
            lengths.add(len(got.raw))
    assert len(lengths) == 1


@pytest.mark.parametrize("tick_ms", [0, 20])
async def test_a_peer_that_leaves_stops_the_model_within_250_ms(make_bench, tick_ms):
    padding = f'profile = "bucket"\ntick_ms = {tick_ms}'
    async with make_bench(padding=padding, echo={"token_delay_ms": 20}) as bench:
        peer = bench.post(bench.seal(bench.inner({**STREAM, "messages": WORDS}))[0])
        await until(lambda: len(peer.chunks) > 5)
        left_at = time.monotonic()
        peer.leave()
        await until(lambda: bench.backend.open_generations == 0)
        assert time.monotonic() - left_at < 0.25
        await peer.result()
        assert bench.backend.cancelled_generations == 1
        assert not peer.complete
        [signed] = bench.parts.ledger.after(0)
        assert b'"outcome":"cancelled"' in signed.statement
        assert b'"completion_tokens":0,' not in signed.statement


@pytest.mark.parametrize("stream", [True, False])
async def test_a_peer_that_leaves_before_the_first_token_stops_the_model(make_bench, stream):
    async with make_bench(echo={"first_token_delay_ms": 60_000}) as bench:
        # Echo sends a role event at once; completions have none, so nothing comes first.
        inner = bench.inner(
            {"model": "echo", "prompt": "one two", "stream": stream}, path="/v1/completions"
        )
        peer = bench.post(bench.seal(inner)[0])
        await until(lambda: bench.backend.open_generations == 1)
        peer.leave()
        await until(lambda: bench.backend.open_generations == 0)
        await peer.result()
        assert peer.status is None
        [signed] = bench.parts.ledger.after(0)
        assert b'"outcome":"cancelled"' in signed.statement


async def test_a_peer_that_leaves_inside_its_request_leaves_nothing_behind(bench):
    sealed, _ = bench.seal(bench.inner(STREAM))
    raw = b"".join(sealed.chunks())
    peer = bench.post(sealed, pieces=[raw[:1200], raw[1200:]])
    first = await peer.incoming.get()
    peer.incoming.get_nowait()
    peer.incoming.put_nowait(first)
    peer.leave()
    await peer.result()
    assert peer.status is None
    assert len(bench.parts.ledger) == 0
    assert bench.parts.metrics.open_requests == 0


async def test_a_cut_answer_does_not_open_as_a_whole_one(bench):
    sealed, opener = bench.seal(bench.inner(STREAM))
    peer = bench.post(sealed)
    await peer.result()
    opener.feed(b"".join(peer.chunks[:-1]))
    with pytest.raises(StreamTruncated):
        opener.finish()


async def test_a_slow_reader_holds_the_model_back(make_bench):
    padding = 'profile = "off"\ntick_ms = 1'
    async with make_bench(padding=padding, echo={"tokens": 20_000}) as bench:
        pulled = []
        original = bench.parts.router.route

        async def route(*arguments):
            routed = await original(*arguments)
            body = routed.body

            async def counted():
                async for events in body:
                    pulled.append(len(events))
                    yield events

            routed.body = counted()
            return routed

        bench.parts.router.route = route
        sealed, opener = bench.seal(bench.inner(STREAM))
        peer = bench.post(sealed, slow=True)
        await until(lambda: sum(pulled) > 1024 * 1024)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert sum(pulled) < 2 * 1024 * 1024 + 1000  # one buffer on its way, one waiting
        peer.reading.set()
        got = opened(await peer.result(), opener)
    assert got.body.endswith(b"data: [DONE]\n\n")
    assert got.usage.completion_tokens == 20_000


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_reports_the_peer_gone_after_the_end_cancels_nothing(bench, stream):
    closed = []
    original = bench.parts.router.route

    async def route(*arguments):
        routed = await original(*arguments)
        close = routed.aclose

        async def slow_close():
            await asyncio.sleep(0.01)
            await close()
            closed.append(routed.outcome)

        routed.aclose = slow_close
        return routed

    bench.parts.router.route = route
    sealed, _ = bench.seal(bench.inner({**STREAM, "stream": stream}))
    await bench.post(sealed).result()
    assert closed == ["complete"]
    text = bench.parts.metrics.registry.render()
    assert 'confide_enclave_requests_total{outcome="complete"} 1' in text


async def test_open_requests_are_counted_while_they_run(make_bench):
    async with make_bench(echo={"token_delay_ms": 60_000}) as bench:
        peer = bench.post(bench.seal(bench.inner(STREAM))[0])
        await until(lambda: peer.chunks)
        assert bench.parts.metrics.open_requests == 1
        peer.leave()
        await peer.result()
        assert bench.parts.metrics.open_requests == 0


async def test_a_server_that_stops_cancels_what_is_left(make_bench):
    async with make_bench(echo={"token_delay_ms": 60_000}) as bench:
        peer = bench.post(bench.seal(bench.inner(STREAM))[0])
        await until(lambda: peer.chunks)
        peer.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await peer.task
        assert bench.backend.open_generations == 0
        [signed] = bench.parts.ledger.after(0)
        assert b'"outcome":"cancelled"' in signed.statement
