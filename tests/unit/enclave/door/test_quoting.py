"""Evidence is fresh for a challenge, shared by those who ask alike, and never a flood."""

import asyncio
import threading

import pytest

from confide.enclave.keyring import DocumentTerms, Keyring
from confide.enclave.quoting import Quoting
from confide.errors import EvidenceError, RateLimited

MANIFEST = bytes(range(32))


class Clock:
    def __init__(self, at=1_000_000.0):
        self.at = at

    def __call__(self):
        return self.at


class Collector:
    """Counts its calls, and blocks its thread until the gate opens."""

    platform, simulated = "test", False

    def __init__(self):
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    def collect(self, *, document, client_nonce, manifest_sha256, now):
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.calls.append((document, client_nonce, manifest_sha256))
        assert threading.current_thread() is not threading.main_thread()
        assert self.gate.wait(10)
        self.at_once -= 1
        return b"evidence for " + client_nonce + str(len(self.calls)).encode()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def collector():
    return Collector()


@pytest.fixture
def document(clock):
    return Keyring(DocumentTerms(MANIFEST), clock, lifetime_s=1000, grace_s=0).current


@pytest.fixture
def quoting(collector, clock):
    return Quoting(collector, MANIFEST, clock, per_second=1, burst=3, monotonic=clock)


async def test_cached_evidence_is_collected_once_an_hour(quoting, collector, document, clock):
    first = await quoting.cached(document)
    assert await quoting.cached(document) is first
    assert collector.calls == [(document.raw, b"", MANIFEST)]
    clock.at += 3_600
    assert await quoting.cached(document) != first
    clock.at -= 7_200
    await quoting.cached(document)
    assert len(collector.calls) == 3


async def test_a_challenge_is_never_answered_from_the_cache(quoting, collector, document):
    await quoting.cached(document)
    nonce = bytes(32)
    first = await quoting.challenged(document, nonce)
    second = await quoting.challenged(document, nonce)
    assert first != second
    assert [call[1] for call in collector.calls] == [b"", nonce, nonce]


async def test_callers_who_ask_alike_share_one_collection(quoting, collector, document):
    collector.gate.clear()
    asks = [asyncio.ensure_future(quoting.challenged(document, bytes(32))) for _ in range(50)]
    await asyncio.sleep(0)
    collector.gate.set()
    assert len(set(await asyncio.gather(*asks))) == 1
    assert len(collector.calls) == 1


async def test_a_caller_who_gives_up_does_not_take_it_from_the_others(quoting, collector, document):
    collector.gate.clear()
    first, second = (
        asyncio.ensure_future(quoting.challenged(document, bytes(32))) for _ in range(2)
    )
    await asyncio.sleep(0)
    first.cancel()
    collector.gate.set()
    assert await second
    assert len(collector.calls) == 1


async def test_one_collection_runs_at_a_time(quoting, collector, document):
    collector.gate.clear()
    nonces = [bytes([n]) * 32 for n in range(3)]
    asks = [asyncio.ensure_future(quoting.challenged(document, nonce)) for nonce in nonces]
    while not collector.calls:
        await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.to_thread(lambda: None)
    assert len(collector.calls) == 1
    collector.gate.set()
    await asyncio.gather(*asks)
    assert len(collector.calls) == 3
    assert collector.most_at_once == 1


async def test_a_flood_of_challenges_is_refused_and_passes(quoting, document, clock):
    for n in range(3):
        await quoting.challenged(document, bytes([n]) * 32)
    with pytest.raises(RateLimited) as refusal:
        await quoting.challenged(document, bytes([9]) * 32)
    assert refusal.value.retry_after > 0
    clock.at += 1
    await quoting.challenged(document, bytes([9]) * 32)


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_nonce_of_another_length_is_refused(quoting, collector, document, length):
    with pytest.raises(ValueError):
        await quoting.challenged(document, bytes(length))
    assert collector.calls == []


async def test_a_platform_that_fails_is_asked_again(quoting, collector, document):
    def broken(**_):
        raise EvidenceError("no report")

    works = collector.collect
    collector.collect = broken
    with pytest.raises(EvidenceError):
        await quoting.cached(document)
    collector.collect = works
    assert await quoting.cached(document)


async def test_evidence_of_dead_documents_is_forgotten(quoting, collector, document):
    await quoting.cached(document)
    quoting.forget_all_but((document,))
    await quoting.cached(document)
    assert len(collector.calls) == 1
    quoting.forget_all_but(())
    await quoting.cached(document)
    assert len(collector.calls) == 2
