"""CPU of the gateway per request and per streamed chunk, beside nginx as a plain proxy.

The gateway authenticates, limits, signs a grant, meters and relays; nginx only relays.
Both get the same bytes, alternate within each round, and run pinned to the second core;
load and mock run on the first.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.load import Tally, drive
from benchmarks.rig import Report, cpu_seconds, median, paired, process, ratio
from confide.local import Home, Stack, StackOptions
from confide.local.readiness import free_port
from confide.local.simulated import ensure_root
from confide.wire.envelope import RequestHeader
from confide.wire.suites import XWING_SUITE

NGINX_CONF = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000;
 client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
 upstream whole {{ server 127.0.0.1:{whole}; keepalive 128; keepalive_requests 1000000; }}
 upstream stream {{ server 127.0.0.1:{stream}; keepalive 128; keepalive_requests 1000000; }}
 server {{ listen 127.0.0.1:{front_whole}; location / {{
   proxy_pass http://whole; proxy_http_version 1.1;
   proxy_set_header Connection ""; proxy_buffering off; }} }}
 server {{ listen 127.0.0.1:{front_stream}; location / {{
   proxy_pass http://stream; proxy_http_version 1.1;
   proxy_set_header Connection ""; proxy_buffering off; }} }}
}}
"""


def pin(pid: int, core: int) -> None:
    if (os.cpu_count() or 1) > 1:
        for member in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            member.cpu_affinity([core])


def sealed_request(key: str, mock: dict[str, object]) -> bytes:
    """2 KiB that look like a sealed request of this mock's key."""
    header = RequestHeader(
        int(str(mock["key_id"])), XWING_SUITE.kem_id, XWING_SUITE.kdf_id, XWING_SUITE.aead_id
    )
    body = header.encode() + os.urandom(2048 - 7)
    head = (
        "POST /v1/sealed HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: message/ohttp-chunked-req\r\n"
        f"authorization: Bearer {key}\r\nconfide-document: {mock['document']}\r\n"
        f"incremental: ?1\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def start_mock(
    home: Home, port: int, mode: str
) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
    command = [sys.executable, "-m", "benchmarks.mock_enclave", str(home.path), str(port), mode]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    return child, json.loads(child.stdout.readline())


def cost(
    pid: int, port: int, request: bytes, *, total: int, connections: int
) -> tuple[float, Tally]:
    before = cpu_seconds(pid)
    tally = asyncio.run(drive(port, request, total=total, connections=connections))
    time.sleep(0.3)  # what is written behind the answer belongs to it: ledger, usage rows
    spent = cpu_seconds(pid) - before
    if tally.failures or tally.answers < total:
        raise RuntimeError(f"{tally.failures} of {total} requests failed")
    return spent, tally


def run(*, quick: bool = False) -> Report:
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        raise SystemExit("this benchmark needs nginx: apt-get install nginx-light")
    report = Report("relay", "python -m benchmarks relay", rounds=2 if quick else 7)
    requests, streams = (2000, 32) if quick else (6000, 64)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        whole_port, stream_port = free_port(), free_port()
        fronts = free_port(), free_port()
        home = Home(folder / "home")
        home.prepare()
        ensure_root(home)
        whole, whole_mock = start_mock(home, whole_port, "whole")
        stream, stream_mock = start_mock(home, stream_port, "stream")
        stack = Stack(
            home,
            StackOptions(
                gateway_port=free_port(),
                enclave_ports=(whole_port, stream_port),
                gateway={"requests_per_minute": 10_000_000, "concurrent_streams": 100_000},
            ),
        )
        (folder / "nginx.conf").write_text(
            NGINX_CONF.format(
                folder=folder,
                whole=whole_port,
                stream=stream_port,
                front_whole=fronts[0],
                front_stream=fronts[1],
            )
        )
        try:
            stack.prepare()
            stack.start_gateway()
            with process([nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as peer:
                time.sleep(0.5)
                gateway = stack.children["gateway"].process.pid
                for pid, core in ((gateway, 1), (peer.pid, 1), (whole.pid, 0), (stream.pid, 0)):
                    pin(pid, core)
                pin(os.getpid(), 0)
                measure(
                    report, stack, peer.pid, fronts, (whole_mock, stream_mock), requests, streams
                )
        finally:
            stack.stop()
            for child in (whole, stream):
                child.terminate()
                child.wait()
            if (os.cpu_count() or 1) > 1:
                psutil.Process().cpu_affinity(list(range(os.cpu_count() or 1)))
    return report


def measure(report, stack, peer_pid, fronts, mocks, requests, streams):  # type: ignore[no-untyped-def]
    gateway_pid, port = stack.children["gateway"].process.pid, stack.options.gateway_port
    whole, streamed = (sealed_request(stack.api_key, mock) for mock in mocks)
    asyncio.run(drive(port, whole, total=200, connections=8))  # warm up
    asyncio.run(drive(fronts[0], whole, total=200, connections=8))

    def per_request(pid: int, where: int) -> float:
        spent, tally = cost(pid, where, whole, total=requests, connections=32)
        return spent / tally.answers * 1e6

    def per_chunk(pid: int, where: int) -> float:
        spent, tally = cost(pid, where, streamed, total=streams, connections=streams)
        return spent / (tally.answers * 100) * 1e6

    requested = paired(
        report.rounds,
        {
            "gateway": lambda: per_request(gateway_pid, port),
            "nginx": lambda: per_request(peer_pid, fronts[0]),
        },
    )
    chunked = paired(
        report.rounds,
        {
            "gateway": lambda: per_chunk(gateway_pid, port),
            "nginx": lambda: per_chunk(peer_pid, fronts[1]),
        },
    )
    report.add("CPU per request, gateway", median(requested["gateway"]), "us")
    report.add("CPU per request, nginx", median(requested["nginx"]), "us")
    report.add(
        "CPU per request, ratio", ratio(requested, "gateway", "nginx"), "x nginx", target=5.0
    )
    report.add("CPU per streamed chunk, gateway", median(chunked["gateway"]), "us")
    report.add("CPU per streamed chunk, nginx", median(chunked["nginx"]), "us")
    report.add(
        "CPU per streamed chunk, ratio", ratio(chunked, "gateway", "nginx"), "x nginx", target=2.3
    )
    report.notes.append(
        "2 KiB up, 1 KiB down; streams of 100 chunks of 256 B every 20 ms, request cost "
        "included; the gateway authenticates, limits, signs a grant, meters and writes its "
        "ledger, nginx does not"
    )
