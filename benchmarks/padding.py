"""Bytes on the wire per token, for each padding profile, beside the same stream in clear."""

from __future__ import annotations

from benchmarks.rig import Report
from benchmarks.sealing import EVENT, exchange
from confide.crypto.xwing import PrivateKey

TOKENS = 200
PER_SECOND = 50


def sealed_bytes(key: PrivateKey, profile: str, tick_ms: int) -> int:
    """Bytes of one streamed answer of 200 tokens made at 50 tokens per second."""
    sealer, _ = exchange(key, 1000, profile)
    events_per_tick = max(1, PER_SECOND * tick_ms // 1000)
    total = len(sealer.head(200, ((b"content-type", b"text/event-stream"),), streamed=True))
    for at in range(0, TOKENS, events_per_tick):
        total += len(sealer.body(EVENT * min(events_per_tick, TOKENS - at)))
    return total + len(sealer.end())


def run(*, quick: bool = False) -> Report:
    report = Report("padding", "python -m benchmarks padding", rounds=1)
    key = PrivateKey.generate()
    # What the same stream costs in clear: one HTTP chunk per event, with its length line.
    plain = TOKENS * (len(EVENT) + len(b"%x" % len(EVENT)) + 4)
    report.add("in clear", plain / TOKENS, "B/token")
    for profile, tick_ms, target in (
        ("off", 0, 1.15),
        ("bucket", 0, None),
        ("bucket", 100, None),
        ("constant", 100, None),
    ):
        total = sealed_bytes(key, profile, tick_ms)
        name = f"{profile}, tick {tick_ms} ms"
        report.add(name, total / TOKENS, "B/token")
        report.add(f"{name}, over in clear", total / plain, "x", target=target)
    report.notes.append(f"{TOKENS} tokens at {PER_SECOND}/s, one event of {len(EVENT)} B each")
    report.notes.append("no randomness and no clock in it, so one round tells all")
    del quick
    return report
