"""A hundred streams at once through all three rooms, beside the same hundred going direct."""

from __future__ import annotations

import asyncio
import time

from openai import AsyncOpenAI

from benchmarks.latency import roads
from benchmarks.rig import Report, median

STREAMS = 100


async def one(client: AsyncOpenAI, firsts: list[float], tokens: list[int]) -> None:
    started = time.perf_counter()
    stream = await client.chat.completions.create(
        model="mock", messages=[{"role": "user", "content": "x" * 1000}], stream=True
    )
    count = 0
    async for event in stream:
        if event.choices and event.choices[0].delta.content:
            if count == 0:
                firsts.append((time.perf_counter() - started) * 1e3)
            count += 1
    tokens.append(count)


async def hundred(base_url: str) -> tuple[float, float, list[int]]:
    """Seconds for all, median milliseconds to the first token, tokens of each stream."""
    firsts: list[float] = []
    tokens: list[int] = []
    async with AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
        started = time.perf_counter()
        await asyncio.gather(*(one(client, firsts, tokens) for _ in range(STREAMS)))
        return time.perf_counter() - started, median(firsts), tokens


def run(*, quick: bool = False) -> Report:
    report = Report("streams", "python -m benchmarks streams", rounds=2 if quick else 5)
    with roads() as clients:
        urls = {name: str(clients[name].base_url) for name in ("direct", "proxy")}
        found: dict[str, list[tuple[float, float, list[int]]]] = {name: [] for name in urls}
        for _ in range(report.rounds):
            for name, url in urls.items():
                found[name].append(asyncio.run(hundred(url)))
    complete = sum(sum(t == 20 for t in tokens) for _, _, tokens in found["proxy"])
    report.add(
        "streams that arrived whole",
        complete,
        f"of {STREAMS * report.rounds}",
        target=STREAMS * report.rounds,
        better="higher",
    )
    for name, runs in found.items():
        report.add(f"all {STREAMS} streams, {name}", median(r[0] for r in runs), "s")
        report.add(f"first token p50, {name}", median(r[1] for r in runs), "ms")
    pairs = zip(found["proxy"], found["direct"], strict=True)
    report.add("wall time, proxy over direct", median(a[0] / b[0] for a, b in pairs), "x")
    report.notes.append("client, mock and three rooms share the machine's cores")
    return report
