"""Tokens per second through seal and open, and the cost of one whole exchange."""

from __future__ import annotations

import time

from benchmarks.rig import Report, median
from confide.crypto.xwing import PrivateKey
from confide.sealing.bhttp import InnerRequest
from confide.sealing.exchange import RequestOpener, seal_request
from confide.sealing.padding import PaddingProfile, pad_request
from confide.wire.key_config import KeyConfig
from confide.wire.suites import XWING_SUITE

EVENT = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk",'
    b'"created":1790000000,"model":"demo-tiny","choices":[{"index":0,"delta":{"content":" token"},'
    b'"finish_reason":null}]}\n\n'
)


def exchange(key: PrivateKey, size: int, profile: str):  # type: ignore[no-untyped-def]
    """Seal and open one request of `size` bytes; return the answer's sealer and opener."""
    config = KeyConfig(
        1, XWING_SUITE.kem_id, key.public_key, ((XWING_SUITE.kdf_id, XWING_SUITE.aead_id),)
    )
    headers = ((b"content-type", b"application/json"),)
    request = InnerRequest("POST", "https", "confide.invalid", "/v1/x", headers, bytes(size))
    sealed, opener = seal_request(config, request, pad_to=pad_request)
    receiver = RequestOpener(
        lambda key_id: key if key_id == 1 else None,
        max_body=32 << 20,
        profile=PaddingProfile.parse(profile, tick_ms=0),
    )
    for part in sealed.chunks():
        receiver.feed(part)
    _, sealer = receiver.finish()
    return sealer, opener


def run(*, quick: bool = False) -> Report:
    report = Report("sealing", "python -m benchmarks sealing", rounds=3 if quick else 9)
    key = PrivateKey.generate()
    tokens = 2_000 if quick else 10_000
    rates = []
    for _ in range(report.rounds):
        sealer, opener = exchange(key, 1000, "off")
        opener.feed(sealer.head(200, ((b"content-type", b"text/event-stream"),), streamed=True))
        started = time.process_time()
        for _ in range(tokens):
            opener.feed(sealer.body(EVENT))
        rates.append(tokens / (time.process_time() - started))
    report.add(
        "tokens through seal and open, one core",
        median(rates),
        "tokens/s",
        target=20_000,
        better="higher",
        note="one chunk per token, padding off",
    )
    for size in (1_000, 100_000, 2_000_000):
        times = []
        for _ in range(report.rounds * 5):
            started = time.process_time()
            exchange(key, size, "off")
            times.append(time.process_time() - started)
        report.add(f"request of {size:,} B, seal and open", median(times) * 1e3, "ms CPU")
    return report
