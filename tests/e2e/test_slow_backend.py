"""A slow engine, in both dialects: tokens are not held back, and who leaves stops the engine.

Both times are taken with one monotonic clock: the engine's double runs in this process.
"""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time

import pytest
from anthropic import Anthropic
from openai import OpenAI
from tests.doubles.scripted_server import Script, ScriptedServer, sse
from tests.e2e.test_openai_coverage import MESSAGES, PATH, chunk, ending
from tests.stacks import options

from confide.local import Home, Stack
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

TICK_S = 0.1
STOPPED_WITHIN_S = 0.25
ROUNDS = 7
DIALECTS = ("openai", "anthropic")


@pytest.fixture(scope="module")
def engine():
    server = ScriptedServer()
    with server.serve() as url:
        server.url = url
        yield server


@pytest.fixture(scope="module")
def served(engine, tmp_path_factory):
    backend = BackendChoice("openai_http", ("m",), {"base_url": engine.url})
    padding = {"profile": "bucket", "tick_ms": round(TICK_S * 1000)}
    home = Home(tmp_path_factory.mktemp("slow"))
    with Stack(home, options(backend, padding=padding)) as running:
        yield running


def script(*holds):
    """A stream of four tokens that waits before those whose numbers are given."""
    pieces = sse(*(chunk({"content": f"t{n} "}) for n in range(4)), *ending())
    gates = {number: threading.Event() for number in holds}
    return Script(pieces, "text/event-stream", hold=gates)


class Asked:
    """One streamed question; `token` waits for the next piece of text."""

    def __init__(self, stack, dialect):
        self.dialect = dialect
        kind = OpenAI if dialect == "openai" else Anthropic
        base = f"{stack.proxy_url}/v1" if dialect == "openai" else stack.proxy_url
        self.client = kind(base_url=base, api_key="anything", max_retries=0)

    def __enter__(self):
        if self.dialect == "openai":
            self.stream = self.client.chat.completions.create(
                model="m", messages=MESSAGES, stream=True
            )
        else:
            self.stream = self.client.messages.create(
                model="m", max_tokens=50, messages=MESSAGES, stream=True
            )
        self.events = iter(self.stream)
        return self

    def token(self):
        """Text and the monotonic second at which it was here."""
        while True:
            event = next(self.events)
            if self.dialect == "openai":
                text = event.choices[0].delta.content if event.choices else None
            else:
                text = getattr(getattr(event, "delta", None), "text", None)
            if text:
                return text, time.monotonic()

    def __exit__(self, *_):
        self.stream.close()
        self.client.close()


def opened(gate, after_s):
    """Open a gate a little later, so that the client waits when the token is written."""
    timer = threading.Timer(after_s, gate.set)
    timer.start()
    return timer


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_token_reaches_the_client_within_the_padding_tick(served, engine, dialect, number):
    delays = []
    for _ in range(ROUNDS):
        plan = engine.scripts[PATH] = script(number, number + 1)
        timer = opened(plan.hold[number], 0.15)
        with Asked(served, dialect) as asked:
            for wanted in range(number + 1):
                text, at = asked.token()
                assert text.startswith(f"t{wanted}")
        timer.join()
        delays.append(at - plan.wrote_at[number])
    # A later token waits for the next beat, so a busy machine is seen in the worst round only.
    assert statistics.median(delays) <= TICK_S, delays


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("when", ["in mid-stream", "before the first token"])
def test_a_client_that_leaves_stops_the_engine_within_250_ms(served, engine, dialect, when):
    seconds = []
    for _ in range(ROUNDS):
        plan = engine.scripts[PATH] = script(0 if when == "before the first token" else 1)
        if when == "in mid-stream":
            with Asked(served, dialect) as asked:
                asked.token()
                gone_at = time.monotonic()
        else:
            gone_at = leave_before_the_answer(served, dialect, plan)
        assert plan.left.wait(5), "the engine went on for nobody"
        seconds.append(plan.left_at - gone_at)
    assert statistics.median(seconds) <= STOPPED_WITHIN_S, seconds


def leave_before_the_answer(stack, dialect, plan):
    """Close the connection while the engine thinks; return when."""
    path = PATH if dialect == "openai" else "/v1/messages"
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": MESSAGES, "stream": True})
    port = stack.options.proxy_port
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall((head + body).encode())
        assert plan.reached.wait(5)
        return time.monotonic()
