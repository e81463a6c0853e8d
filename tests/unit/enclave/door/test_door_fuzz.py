"""Whatever arrives, the door answers with a problem document or under the seal."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.enclave.door.door_bench import Bench, opened

from confide.wire.envelope import envelope_digest


@pytest.fixture(scope="module")
def loop_and_bench(tmp_path_factory):
    """One enclave for all examples, and the loop it lives on."""
    with asyncio.Runner() as runner:
        bench = runner.run(started(tmp_path_factory.mktemp("fuzz")))
        yield runner, bench
        runner.run(bench.__aexit__())


async def started(folder):
    return await Bench(folder).__aenter__()


fuzzed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzzed
@given(pieces=st.lists(st.binary(max_size=3000), max_size=4), known_key=st.booleans())
def test_bytes_of_any_kind_are_refused_with_a_problem(loop_and_bench, pieces, known_key):
    runner, bench = loop_and_bench

    async def send():
        if known_key:
            header = next(iter(bench.seal_raw(b"")[0].chunks()))[:7]
            pieces.insert(0, header + bytes(1120))
        raw = b"".join(pieces)
        token = "x"
        if known_key:
            token = bench.sign(bench.grant(envelope_digest(raw), "r-1").to_claims())
        sealed = bench.seal_raw(b"")[0]
        return await bench.post(sealed, pieces=pieces, token=token, request_id="r-1").result()

    got = runner.run(send())
    assert got.status in {400, 403}
    assert got.problem.status == got.status
    assert len(bench.parts.ledger) == 0


@fuzzed
@given(message=st.binary(max_size=300))
def test_a_seal_around_something_that_is_no_request_is_answered_under_the_seal(
    loop_and_bench, message
):
    runner, bench = loop_and_bench

    async def send():
        sealed, opener = bench.seal_raw(message)
        return opened(await bench.post(sealed).result(), opener)

    got = runner.run(send())
    # Bytes that happen to be a message have no date, and are refused for that.
    assert got.status == 400 or got.head.status in {400, 413}
    if got.status == 200:
        assert got.error["type"] == "invalid_request_error"
    assert len(bench.parts.ledger) == 0


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x02", b"\xff" * 40, b"\x00\x04POST"])
async def test_an_empty_or_cut_message_is_a_sealed_400(bench, message):
    sealed, opener = bench.seal_raw(message)
    got = opened(await bench.post(sealed).result(), opener)
    assert (got.status, got.head.status) == (200, 400)
