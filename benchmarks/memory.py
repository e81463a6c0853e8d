"""Memory of each room without a model, idle and after traffic."""

from __future__ import annotations

import tempfile
from pathlib import Path

from openai import OpenAI

from benchmarks.rig import Report, pss_megabytes
from confide.local import Home, Stack, StackOptions
from confide.local.enclave_file import BackendChoice
from confide.local.readiness import free_port


def run(*, quick: bool = False) -> Report:
    report = Report("memory", "python -m benchmarks memory", rounds=1)
    options = StackOptions(
        proxy_port=free_port(),
        gateway_port=free_port(),
        enclave_ports=(free_port(),),
        backends=(BackendChoice("echo", ("echo",)),),
        gateway={"requests_per_minute": 1_000_000, "concurrent_streams": 100},
    )
    with (
        tempfile.TemporaryDirectory() as scratch,
        Stack(Home(Path(scratch) / "home"), options) as stack,
    ):
        pids = {name: child.process.pid for name, child in stack.children.items()}
        for name, pid in pids.items():
            report.add(f"{name}, idle", pss_megabytes(pid), "MB PSS")
        with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="x") as client:
            for _ in range(50 if quick else 500):
                client.chat.completions.create(
                    model="echo", messages=[{"role": "user", "content": "x " * 500}]
                )
        for name, pid in pids.items():
            report.add(f"{name}, after traffic", pss_megabytes(pid), "MB PSS", target=80.0)
    return report
