"""What sealing adds to a request: SDK and proxy beside the same client going direct."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
from openai import OpenAI

from benchmarks.rig import Report, median, paired, process
from confide import EncryptedTransport
from confide.local import Home, Stack, StackOptions, simulated_verifier
from confide.local.enclave_file import BackendChoice
from confide.local.readiness import free_port, json_of

SIZES = {"1 KB": 1_000, "100 KB": 100_000, "2 MB": 2_000_000}


@contextmanager
def roads() -> Iterator[dict[str, OpenAI]]:
    """Three clients that end at the same backend: direct, through the SDK, through the proxy."""
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
    with ExitStack() as cleanup:
        cleanup.enter_context(process([sys.executable, "-m", "benchmarks.mock_backend", str(port)]))
        while json_of(port, "/v1/models") is None:
            time.sleep(0.05)
        scratch = cleanup.enter_context(tempfile.TemporaryDirectory())
        stack = cleanup.enter_context(Stack(Home(Path(scratch) / "home"), options))
        transport = EncryptedTransport(
            stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
        )
        http_client = cleanup.enter_context(httpx2.Client(transport=transport))
        yield {
            "direct": OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x"),
            "sdk": OpenAI(
                base_url="https://confide.invalid/v1", api_key="x", http_client=http_client
            ),
            "proxy": OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="x"),
        }


def whole(client: OpenAI, size: int, count: int) -> float:
    """Median milliseconds of `count` requests."""
    messages = [{"role": "user", "content": "x" * size}]
    times = []
    for _ in range(count):
        started = time.perf_counter()
        client.chat.completions.create(model="mock", messages=messages)  # type: ignore[arg-type]
        times.append((time.perf_counter() - started) * 1e3)
    return median(times)


def first_token(client: OpenAI, count: int) -> float:
    """Median milliseconds to the first streamed event."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        with client.chat.completions.create(
            model="mock", messages=[{"role": "user", "content": "x" * 1000}], stream=True
        ) as stream:
            next(iter(stream))
            times.append((time.perf_counter() - started) * 1e3)
            for _ in stream:
                pass
    return median(times)


def run(*, quick: bool = False) -> Report:
    report = Report("latency", "python -m benchmarks latency", rounds=3 if quick else 7)
    with roads() as clients:
        for client in clients.values():
            whole(client, 1000, 30)
        for label, size in SIZES.items():
            count = {"1 KB": 60, "100 KB": 30, "2 MB": 6}[label] // (2 if quick else 1)

            def measure(name: str, size: int = size, count: int = count) -> Callable[[], float]:
                return lambda: whole(clients[name], size, count)

            found = paired(report.rounds, {name: measure(name) for name in clients})
            added = {
                name: median(a - b for a, b in zip(found[name], found["direct"], strict=True))
                for name in ("sdk", "proxy")
            }
            report.add(f"p50 direct, {label}", median(found["direct"]), "ms")
            sdk, proxy = {"1 KB": (0.7, 3.0), "100 KB": (None, None), "2 MB": (25.0, 25.0)}[label]
            report.add(f"p50 added by the SDK, {label}", added["sdk"], "ms", target=sdk)
            report.add(f"p50 added by the proxy, {label}", added["proxy"], "ms", target=proxy)
        tokens = paired(
            report.rounds,
            {
                name: (lambda name=name: first_token(clients[name], 4 if quick else 10))
                for name in clients
            },
        )
        report.add("first token, direct", median(tokens["direct"]), "ms")
        for name, target in (("sdk", None), ("proxy", 5.0)):
            added = median(a - b for a, b in zip(tokens[name], tokens["direct"], strict=True))
            report.add(f"first token, added by the {name}", added, "ms", target=target)
    report.notes.append("padding profile bucket with tick 0: the tick's delay is excluded")
    report.notes.append("the road has three more processes on two cores than the direct one")
    return report
