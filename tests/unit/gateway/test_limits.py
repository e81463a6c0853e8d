"""Limits are exact: no more than allowed, and the stated wait is the true one."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confide.gateway.limits import AddressLimiter, KeyLimiter, Rate, Reason
from confide.identity.principal import Limits

rates = st.integers(1, 100_000)
bursts = st.integers(1, 50)
steps = st.lists(st.floats(0, 120), max_size=200)


@given(rates, bursts, steps)
def test_no_window_ever_holds_more_than_the_burst_and_the_rate(per_minute, burst, waits):
    rate, now, admitted = Rate(per_minute, burst), 1000.0, []
    for wait in waits:
        now += wait
        if rate.wait(now) == 0:
            rate.take(now)
            admitted.append(now)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            elapsed = admitted[last] - start
            assert last - first + 1 <= burst + elapsed * per_minute / 60 + 1e-3


@given(rates, bursts, st.floats(0, 1e6))
def test_the_stated_wait_is_exact(per_minute, burst, now):
    limiter = KeyLimiter(Limits(per_minute, burst, 10**9))
    for _ in range(burst):
        assert limiter.admit(now) is None
    denied = limiter.admit(now)
    assert denied.reason is Reason.RATE
    assert limiter.admit(now + denied.retry_after_s * 0.99 - 1e-5) is not None
    assert limiter.admit(now + denied.retry_after_s) is None


@given(rates, bursts, st.integers(0, 60), st.floats(0, 10))
def test_what_is_left_is_what_would_be_admitted(per_minute, burst, used, later):
    limiter = KeyLimiter(Limits(per_minute, burst, 10**9))
    for _ in range(used):
        limiter.admit(0.0)
    left = limiter.left(later)
    assert 0 <= left <= burst
    for _ in range(left):
        assert limiter.admit(later) is None
    assert limiter.admit(later) is not None


@given(st.integers(1, 8), st.integers(1, 40), st.data())
def test_streams_are_exact_under_concurrency(streams, tasks, data):
    limiter = KeyLimiter(Limits(10**6, 10**6, streams))
    pauses = data.draw(st.lists(st.integers(0, 3), min_size=tasks, max_size=tasks))
    running, peak = 0, 0

    async def one(pause):
        nonlocal running, peak
        if limiter.admit(0.0) is not None:
            return
        running += 1
        peak = max(peak, running)
        try:
            for _ in range(pause):
                await asyncio.sleep(0)
        finally:
            running -= 1
            limiter.release()

    async def together():
        await asyncio.gather(*(one(pause) for pause in pauses))

    asyncio.run(together())
    assert peak <= streams
    assert limiter.streams == 0


def test_a_refusal_takes_nothing():
    limiter = KeyLimiter(Limits(60, 5, 1))
    assert limiter.admit(0.0) is None
    for _ in range(100):
        assert limiter.admit(0.0).reason is Reason.STREAMS
    limiter.release()
    assert limiter.left(0.0) == 4


def test_changing_limits_keeps_what_was_taken():
    limiter = KeyLimiter(Limits(60, 2, 5))
    limiter.admit(0.0)
    limiter.admit(0.0)
    limiter.change(Limits(60, 3, 2))
    assert limiter.admit(0.0).reason is Reason.STREAMS
    limiter.release()
    assert limiter.admit(0.0) is None
    limiter.release()
    assert limiter.admit(0.0).reason is Reason.RATE


def test_a_clock_that_stands_still_admits_only_the_burst():
    limiter = KeyLimiter(Limits(1, 3, 100))
    assert [limiter.admit(5.0) is None for _ in range(5)] == [True, True, True, False, False]


def test_an_address_cannot_use_up_the_total_beyond_its_share():
    limiter = AddressLimiter(2, 3)
    assert [limiter.admit("a", 0.0) is None for _ in range(3)] == [True, True, False]
    assert limiter.admit("b", 0.0) is None
    denied = limiter.admit("c", 0.0)
    assert denied.retry_after_s == pytest.approx(20)


def test_addresses_are_kept_in_bounded_memory():
    limiter = AddressLimiter(1, 10**6, addresses=10)
    for number in range(1000):
        limiter.admit(str(number), 0.0)
    assert len(limiter) == 10
