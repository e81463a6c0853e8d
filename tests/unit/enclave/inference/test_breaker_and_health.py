import asyncio

import pytest
from tests.unit.enclave.inference.inference_bench import echo

from confide.enclave.inference.backend import BackendUnavailable
from confide.enclave.inference.breaker import Breaker, BreakerState
from confide.enclave.inference.health import HealthMonitor, HealthSettings, HealthState


def test_a_breaker_opens_after_failures_in_a_row(clock):
    breaker = Breaker(clock, threshold=3, reset_after_s=10)
    for _ in range(2):
        assert breaker.admit()
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.state is BreakerState.CLOSED
        breaker.failed()
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admit()


def test_an_open_breaker_lets_one_trial_through_after_a_while(clock):
    breaker = Breaker(clock, threshold=1, reset_after_s=10)
    breaker.failed()
    clock.at += 9.9
    assert not breaker.admit()
    clock.at += 0.1
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit()
    assert not breaker.admit()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_a_failed_trial_opens_it_again(clock):
    breaker = Breaker(clock, threshold=5, reset_after_s=10)
    for _ in range(5):
        breaker.failed()
    clock.at += 10
    assert breaker.admit()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN


def test_a_trial_that_told_nothing_may_be_repeated(clock):
    breaker = Breaker(clock, threshold=1, reset_after_s=10)
    breaker.failed()
    clock.at += 10
    assert breaker.admit()
    breaker.released()
    assert breaker.admit()


class Probed:
    """A backend that is as well as it is told to be."""

    kind = "fake"
    name = "b"
    refused_fields = frozenset()

    def __init__(self):
        self.well = True
        self.raises: Exception = BackendUnavailable("down")

    async def probe(self):
        if not self.well:
            raise self.raises


def monitor(clock, backend, **settings):
    return HealthMonitor({"b": backend}, clock, settings=HealthSettings(**settings))


async def test_a_backend_is_ejected_after_n_failures_and_readmitted_after_a_success(clock):
    backend = Probed()
    health = monitor(clock, backend, eject_after=3)
    await health.probe_all()
    assert health.states["b"].state is HealthState.HEALTHY
    assert health.states["b"].probed_at == clock.at
    backend.well = False
    for usable in (True, True, False):
        await health.probe_all()
        assert health.usable("b") is usable
    backend.well = True
    await health.probe_all()
    assert health.usable("b")


async def test_readmission_can_ask_for_more_than_one_success(clock):
    backend = Probed()
    backend.well = False
    health = monitor(clock, backend, readmit_after=2)
    await health.probe_all()
    backend.well = True
    await health.probe_all()
    assert not health.usable("b")
    await health.probe_all()
    assert health.usable("b")


async def test_a_backend_that_was_never_well_is_ejected_at_once(clock):
    backend = Probed()
    backend.well = False
    health = monitor(clock, backend, eject_after=3)
    assert health.usable("b")
    await health.probe_all()
    assert not health.usable("b")


async def test_any_exception_of_a_probe_is_a_failure(clock):
    backend = Probed()
    backend.well, backend.raises = False, KeyError("x")
    health = monitor(clock, backend)
    await health.probe_all()
    assert not health.usable("b")


async def test_a_probe_that_hangs_is_a_failure(clock):
    backend = Probed()

    async def hang():
        await asyncio.Event().wait()

    backend.probe = hang
    health = monitor(clock, backend, timeout_s=0.01)
    await health.probe_all()
    assert not health.usable("b")


async def test_probes_keep_their_beat_although_each_takes_time(clock):
    backend = Probed()
    probed = []
    enough = asyncio.Event()

    async def probe():
        probed.append(clock.at)
        clock.at += 0.7
        if len(probed) == 4:
            enough.set()

    async def sleep(seconds):
        clock.at += seconds
        await asyncio.sleep(0)

    backend.probe = probe
    health = HealthMonitor(
        {"b": backend}, clock, settings=HealthSettings(interval_s=5), monotonic=clock, sleep=sleep
    )
    start = clock.at
    await health.start()
    await asyncio.wait_for(enough.wait(), 5)
    await health.stop()
    first = start + 0.7
    assert probed[:4] == pytest.approx([start, first + 5, first + 10, first + 15])


async def test_a_monitor_stops_twice_and_without_start(clock):
    health = monitor(clock, echo("b"))
    await health.stop()
    await health.start()
    await health.stop()
    await health.stop()
