"""The running three-process stack, and fresh ones for tests that break things."""

from __future__ import annotations

from dataclasses import replace

import pytest

from confide.local import Home, Stack, StackOptions
from confide.local.enclave_file import BackendChoice, demo_model_path
from confide.local.readiness import free_port

ECHO = BackendChoice("echo", ("echo",), {"token_delay_ms": 0})
SLOW = BackendChoice("echo", ("slow",), {"token_delay_ms": 50})


def demo() -> BackendChoice:
    """The embedded demo model."""
    return BackendChoice("llamacpp", ("demo-tiny",), {"model_path": str(demo_model_path())})


def options(*backends: BackendChoice, enclaves: int = 1, **further: object) -> StackOptions:
    """Options on free ports, with limits that tests do not run into."""
    chosen = StackOptions(
        proxy_port=free_port(),
        gateway_port=free_port(),
        enclave_ports=tuple(free_port() for _ in range(enclaves)),
        backends=backends or (ECHO, SLOW),
        padding={"profile": "bucket", "tick_ms": 20},
        gateway={"requests_per_minute": 100_000, "concurrent_streams": 200},
    )
    return replace(chosen, **further)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """One stack for every test that leaves it as it was: demo-tiny, echo and slow."""
    home = Home(tmp_path_factory.mktemp("home"))
    with Stack(home, options(demo(), ECHO, SLOW)) as running:
        yield running


@pytest.fixture
def start_stack(tmp_path):
    """Start stacks that a test may break."""
    running: list[Stack] = []

    def start(*backends: BackendChoice, enclaves: int = 1, **further: object) -> Stack:
        home = Home(tmp_path / f"home{len(running)}")
        stack = Stack(home, options(*backends, enclaves=enclaves, **further))
        running.append(stack)
        stack.start()
        return stack

    yield start
    for stack in running:
        stack.stop()
