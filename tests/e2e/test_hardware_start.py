"""An enclave whose machine cannot prove itself never opens its port."""

import errno
import socket
import subprocess
import time
import urllib.request

import pytest
from tests.doubles.hardware_enclave import command

from confide.attest.evidence import Evidence
from confide.wire.directory import Directory

pytestmark = pytest.mark.e2e

TOML = f"""
[enclave]
port = {{port}}
gateway_public_key = "{"A" * 43}"
platform = "sev-snp"
gpus = {{gpus}}
[[backends]]
name = "main"
kind = "echo"
[[models]]
name = "m"
backends = ["main"]
"""


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition, *, within_s=30):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path):
    """Start an enclave on a double machine; return its process and its port."""
    started = []

    def run(gpus=0, **machine):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = tmp_path / f"enclave-{port}.toml"
        settings.write_text(TOML.format(port=port, gpus=gpus))
        process = subprocess.Popen(command(settings, **machine), stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process, port

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


HEALTHY_GPU = {"gpus": 1}


@pytest.mark.parametrize(
    ("gpus", "machine", "code"),
    [
        (0, {"provider": None}, "tsm.no_provider"),
        (0, {"lost_stores": 1}, "tsm.generation_conflict"),
        (0, {"errno": [errno.ENOTTY]}, "tsm.outblob"),
        (0, {"errno": [errno.EBUSY] * 9}, "tsm.retries_exhausted"),
        (1, {"nvml": {"gpus": 1, "cc": 0}}, "nv.confidential"),
        (1, {"nvml": {"gpus": 1, "dev_tools": 1}}, "nv.developer_tools"),
        (1, {"nvml": {"gpus": 0}}, "nv.count"),
    ],
)
def test_whatever_fails_the_process_ends_and_nothing_listened(start, gpus, machine, code):
    process, port = start(gpus, **machine)
    seen = []
    until(lambda: seen.append(listens(port)) or process.poll() is not None)
    assert process.returncode == 1
    assert code in process.stderr.read()
    assert not any(seen)


def test_the_port_opens_only_after_the_machine_answered(start, tmp_path):
    gate = tmp_path / "gate"
    process, port = start(
        1, nvml={**HEALTHY_GPU, "ready_file": str(tmp_path / "ready")}, gate=str(gate)
    )
    # The GPUs were accepted, so the start has come to the kernel, which does not answer yet.
    until((tmp_path / "ready").exists)
    assert not listens(port)
    gate.touch()
    until(lambda: listens(port) or process.poll() is not None)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/.well-known/confide/keys") as answer:
        [replica] = Directory.parse(answer.read()).replicas
    evidence = Evidence.parse(replica.evidence)
    assert evidence.cpu.type == "sev-snp"
    assert len(evidence.gpus) == 1
    assert b'"gpus":{"confidential":true' in replica.manifest


def test_the_command_line_does_not_listen_without_the_hardware(start, tmp_path):
    """`confide enclave serve` itself, on the machine that runs this test."""
    import sys

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = tmp_path / "enclave.toml"
    settings.write_text(TOML.format(port=port, gpus=1))
    ended = subprocess.run(
        [sys.executable, "-m", "confide", "enclave", "serve", "--config", str(settings)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "error" in ended.stderr
    assert not listens(port)
