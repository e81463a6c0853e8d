"""Both dialects through the proxy, each beside the same client going direct to the same mock.

The mock speaks both dialects itself, so "direct" is what a user has without confide. CPU is
that of the user's machine: the client's process, and on the sealed road the proxy's as well.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from benchmarks.rig import Report, cpu_seconds, median, paired, process, ratio
from confide.local import Home, Stack, StackOptions
from confide.local.enclave_file import BackendChoice
from confide.local.readiness import free_port, json_of

TOKENS = 100
STREAMS = 8
DIALECTS = ("openai", "anthropic")
MESSAGES = [{"role": "user", "content": "x" * 1000}]


@contextmanager
def roads() -> Iterator[tuple[dict[str, str], int]]:
    """Base URL without /v1 of both roads, and the proxy's pid."""
    port = free_port()
    backend = BackendChoice("openai_http", ("mock",), {"base_url": f"http://127.0.0.1:{port}/v1"})
    options = StackOptions(
        proxy_port=free_port(),
        gateway_port=free_port(),
        enclave_ports=(free_port(),),
        backends=(backend,),
        padding={"profile": "bucket", "tick_ms": 0},
        gateway={"requests_per_minute": 10_000_000, "concurrent_streams": 10_000},
    )
    mock = [sys.executable, "-m", "benchmarks.mock_backend", str(port), str(TOKENS)]
    with ExitStack() as cleanup:
        cleanup.enter_context(process(mock))
        while json_of(port, "/v1/models") is None:
            time.sleep(0.05)
        scratch = cleanup.enter_context(tempfile.TemporaryDirectory())
        stack = cleanup.enter_context(Stack(Home(Path(scratch) / "home"), options))
        urls = {"direct": f"http://127.0.0.1:{port}", "proxy": stack.proxy_url}
        yield urls, stack.children["proxy"].process.pid


def asker(dialect: str, url: str) -> Callable[[bool], object]:
    """Ask once, streamed or not; a stream is returned at its first text."""
    if dialect == "openai":
        openai = OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)

        def ask(stream: bool) -> object:
            answer = openai.chat.completions.create(
                model="mock",
                messages=MESSAGES,  # type: ignore[arg-type]
                stream=stream,
            )
            if stream:
                next(e for e in answer if e.choices and e.choices[0].delta.content)
            return answer

        return ask
    anthropic = Anthropic(base_url=url, api_key="x", max_retries=0)

    def ask_anthropic(stream: bool) -> object:
        answer = anthropic.messages.create(
            model="mock",
            max_tokens=500,
            messages=MESSAGES,  # type: ignore[arg-type]
            stream=stream,
        )
        if stream:
            next(e for e in answer if getattr(getattr(e, "delta", None), "text", None))
        return answer

    return ask_anthropic


def milliseconds(ask: Callable[[bool], object], *, stream: bool, count: int) -> float:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        answer = ask(stream)
        times.append((time.perf_counter() - started) * 1e3)
        if stream:
            answer.close()  # type: ignore[attr-defined]
    return median(times)


async def read_streams(dialect: str, url: str) -> int:
    """Read `STREAMS` streams at once to their ends; how many pieces of text came."""

    async def one(client: AsyncOpenAI | AsyncAnthropic) -> int:
        count = 0
        if isinstance(client, AsyncOpenAI):
            async for event in await client.chat.completions.create(
                model="mock",
                messages=MESSAGES,  # type: ignore[arg-type]
                stream=True,
            ):
                count += bool(event.choices and event.choices[0].delta.content)
            return count
        async for event in await client.messages.create(
            model="mock",
            max_tokens=500,
            messages=MESSAGES,  # type: ignore[arg-type]
            stream=True,
        ):
            count += bool(getattr(getattr(event, "delta", None), "text", None))
        return count

    if dialect == "openai":
        made: AsyncOpenAI | AsyncAnthropic = AsyncOpenAI(
            base_url=f"{url}/v1", api_key="x", max_retries=0
        )
    else:
        made = AsyncAnthropic(base_url=url, api_key="x", max_retries=0)
    async with made as client:
        return sum(await asyncio.gather(*(one(client) for _ in range(STREAMS))))


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_per_chunk(dialect: str, url: str, proxy_pid: int | None) -> tuple[float, float]:
    """Microseconds per chunk: of client and proxy together, and of the proxy alone."""
    client, proxy = own_cpu(), cpu_seconds(proxy_pid) if proxy_pid else 0.0
    chunks = asyncio.run(read_streams(dialect, url))
    if chunks != STREAMS * TOKENS:
        raise RuntimeError(f"{chunks} of {STREAMS * TOKENS} chunks arrived")
    client = own_cpu() - client
    proxy = cpu_seconds(proxy_pid) - proxy if proxy_pid else 0.0
    return (client + proxy) / chunks * 1e6, proxy / chunks * 1e6


def latency(
    report: Report, urls: dict[str, str], *, label: str, stream: bool, count: int, target: float
) -> None:
    """All four roads alternately within each round, so that all see the same machine."""
    asks = {
        (dialect, road): asker(dialect, url) for dialect in DIALECTS for road, url in urls.items()
    }
    for ask in asks.values():
        milliseconds(ask, stream=False, count=20)  # warm up, and verify
    found = paired(
        report.rounds,
        {
            f"{dialect} {road}": partial(milliseconds, ask, stream=stream, count=count)
            for (dialect, road), ask in asks.items()
        },
    )
    for dialect in DIALECTS:
        direct, proxy = f"{dialect} direct", f"{dialect} proxy"
        added = median(a - b for a, b in zip(found[proxy], found[direct], strict=True))
        report.add(f"{dialect}: {label}, direct", median(found[direct]), "ms")
        report.add(f"{dialect}: {label}, added by the proxy", added, "ms", target=target)
        report.add(f"{dialect}: {label}, proxy over direct", ratio(found, proxy, direct), "x")


def cpu(report: Report, urls: dict[str, str], proxy_pid: int) -> None:
    alone: dict[str, list[float]] = {dialect: [] for dialect in DIALECTS}

    def measure(dialect: str, road: str) -> float:
        pid = proxy_pid if road == "proxy" else None
        both, proxy = cpu_per_chunk(dialect, urls[road], pid)
        if pid is not None:
            alone[dialect].append(proxy)
        return both

    found = paired(
        report.rounds,
        {
            f"{dialect} {road}": partial(measure, dialect, road)
            for dialect in DIALECTS
            for road in urls
        },
    )
    for dialect in DIALECTS:
        direct, proxy = f"{dialect} direct", f"{dialect} proxy"
        name = f"{dialect}: CPU per chunk"
        report.add(f"{name}, direct", median(found[direct]), "us")
        report.add(f"{name}, client and proxy", median(found[proxy]), "us")
        report.add(f"{name}, the proxy alone", median(alone[dialect]), "us")
        report.add(f"{name}, proxy over direct", ratio(found, proxy, direct), "x")


def run(*, quick: bool = False) -> Report:
    report = Report("dialects", "python -m benchmarks dialects", rounds=2 if quick else 9)
    count = 20 if quick else 40
    with roads() as (urls, proxy_pid):
        latency(report, urls, label="whole answer, 1 KB", stream=False, count=count, target=3.0)
        latency(report, urls, label="first token", stream=True, count=count, target=5.0)
        cpu(report, urls, proxy_pid)
    report.notes.append("padding profile bucket with tick 0: the tick's delay is excluded")
    report.notes.append(
        f"CPU of the user's machine over {STREAMS} streams of {TOKENS} chunks every 10 ms at "
        "once, requests included; the official Python clients"
    )
    return report
