"""A request is accepted once, whatever the clock does and whatever is forgotten."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from confide.enclave.replay import ReplayCache
from confide.errors import ReplayError


class Clock:
    def __init__(self, at=1_000_000.0):
        self.at = at

    def __call__(self):
        return self.at


def accepted(cache, date, key):
    try:
        cache.accept(date, key)
    except ReplayError:
        return False
    return True


def test_the_same_key_is_accepted_once():
    cache = ReplayCache(Clock(), capacity=10)
    assert accepted(cache, 1_000_000, b"a")
    assert not accepted(cache, 1_000_000, b"a")
    assert not accepted(cache, 1_000_001, b"a")
    assert accepted(cache, 1_000_000, b"b")


def test_what_has_no_date_counts_as_dated_now():
    clock = Clock()
    cache = ReplayCache(clock, capacity=10)
    cache.accept_undated(b"a")
    assert not accepted(cache, 1_000_000, b"a")
    clock.at += 120
    with pytest.raises(ReplayError):
        cache.accept_undated(b"a")
    clock.at += 1
    assert accepted(cache, 1_000_001, b"b")
    assert cache.low_water == 1_000_000
    clock.at = 1_000_000
    with pytest.raises(ReplayError):
        cache.accept_undated(b"c")


@pytest.mark.parametrize(
    ("offset", "fits"), [(-121, False), (-120, True), (0, True), (60, True), (61, False)]
)
def test_the_window_reaches_120_s_back_and_60_s_ahead(offset, fits):
    assert accepted(ReplayCache(Clock(), capacity=10), 1_000_000 + offset, b"a") is fits


def test_a_forgotten_request_stays_refused_when_the_clock_is_turned_back():
    clock = Clock()
    cache = ReplayCache(clock, capacity=10)
    assert accepted(cache, 1_000_000, b"a")
    clock.at += 500
    assert accepted(cache, 1_000_500, b"b")
    assert len(cache) == 1
    clock.at -= 500
    assert not accepted(cache, 1_000_000, b"a")
    assert not accepted(cache, 999_990, b"c")
    assert accepted(cache, 1_000_001, b"d")


def test_a_full_cache_forgets_the_oldest_date_first_and_raises_the_mark():
    cache = ReplayCache(Clock(), capacity=3)
    for date, key in [(1_000_002, b"c"), (1_000_000, b"a"), (1_000_001, b"b")]:
        assert accepted(cache, date, key)
    assert cache.low_water is None
    assert accepted(cache, 1_000_003, b"d")
    assert cache.low_water == 1_000_000
    assert len(cache) == 3
    assert not accepted(cache, 1_000_000, b"a")
    assert not accepted(cache, 1_000_000, b"fresh, but at the mark")
    assert not accepted(cache, 1_000_001, b"b")


def test_a_refused_request_is_not_remembered():
    cache = ReplayCache(Clock(), capacity=10)
    assert not accepted(cache, 1_000_061, b"a")
    assert len(cache) == 0
    assert accepted(cache, 1_000_000, b"a")


def test_the_three_refusals_look_the_same():
    cache = ReplayCache(Clock(), capacity=1)
    texts = set()
    cache.accept(1_000_000, b"a")
    cache.accept(1_000_001, b"b")
    for date, key in [(1_000_000, b"x"), (1_000_001, b"b"), (1, b"y")]:
        with pytest.raises(ReplayError) as refusal:
            cache.accept(date, key)
        texts.add(str(refusal.value))
    assert len(texts) == 1


step = st.one_of(
    st.tuples(st.just("clock"), st.integers(-400, 400)),
    st.tuples(st.just("ask"), st.integers(-150, 90), st.integers(0, 5)),
    st.tuples(st.just("again"), st.integers(0, 100)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(step, max_size=80), st.integers(1, 8))
def test_nothing_is_accepted_twice_under_any_clock(steps, capacity):
    clock = Clock()
    cache = ReplayCache(clock, capacity=capacity)
    answered = []
    low_water = None
    for one in steps:
        if one[0] == "clock":
            clock.at += one[1]
            continue
        if one[0] == "ask":
            date, key = int(clock.at) + one[1], bytes([one[2]])
        elif answered:
            date, key = answered[one[1] % len(answered)]
        else:
            continue
        fits = clock.at - 120 <= date <= clock.at + 60
        if accepted(cache, date, key):
            # An encapsulated key and its date come under one seal: the pair is the request.
            assert (date, key) not in answered
            assert fits
            assert low_water is None or date > low_water
            answered.append((date, key))
        elif fits and (low_water is None or date > low_water):
            assert any(key == other for _, other in answered)
        assert len(cache) <= capacity
        if low_water is not None:
            assert cache.low_water >= low_water
        low_water = cache.low_water


def test_an_entry_costs_about_165_bytes():
    clock = Clock()
    cache = ReplayCache(clock, capacity=100_000)
    keys = (number.to_bytes(1120, "big") for number in range(50_000))
    tracemalloc.start()
    for number, key in enumerate(keys):
        cache.accept(1_000_000 - number % 100, key)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used / 50_000 < 200
