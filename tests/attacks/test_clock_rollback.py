"""T-06: the host turns the enclave's clock back to replay a request that was forgotten."""

from __future__ import annotations

import pytest
from tests.unit.enclave.door.door_bench import MESSAGES, Bench

from confide.wire.problems import DATE_TYPE

BODY = {"model": "echo", "messages": MESSAGES}


@pytest.fixture
async def forgetful(tmp_path):
    """An enclave that remembers only 100 requests."""
    async with Bench(tmp_path, door="replay_capacity = 100") as bench:
        yield bench


async def send_again(bench, sealed, pieces, request_id):
    """The host forges nothing: the gateway signs a new grant for the same ciphertext."""
    return await bench.post(sealed, pieces=list(pieces), request_id=request_id).result()


async def test_a_forgotten_request_stays_refused_when_the_clock_is_turned_back(forgetful):
    bench = forgetful
    sealed, _ = bench.seal(bench.inner(BODY))
    pieces = list(sealed.chunks())
    captured_at = bench.clock.at
    first = await send_again(bench, sealed, pieces, "first")
    assert first.status == 200

    for _ in range(150):  # until it is evicted
        bench.clock.at += 0.5
        assert (await bench.ask(BODY)).head.status == 200
    bench.clock.at = captured_at

    again = await send_again(bench, sealed, pieces, "again")
    assert again.status == 400
    assert again.problem.type == DATE_TYPE


async def test_a_fresh_request_is_refused_too_while_the_clock_is_wrong(forgetful):
    """Refusing too much is the safe side: the date lies below the low-water mark."""
    bench = forgetful
    started = bench.clock.at
    for _ in range(150):
        bench.clock.at += 0.5
        assert (await bench.ask(BODY)).head.status == 200
    bench.clock.at = started
    refused = await bench.ask(BODY)
    assert refused.status == 400
    bench.clock.at = started + 80
    assert (await bench.ask(BODY)).head.status == 200
