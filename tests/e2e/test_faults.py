"""When a room dies, the client is told within two seconds, and the next request works."""

from __future__ import annotations

import os
import signal
import time

import httpx2
import openai
import psutil
import pytest
from openai import OpenAI
from tests.e2e import ledger
from tests.stacks import ECHO, demo

from confide import EncryptedTransport
from confide.errors import ConfideError, StreamTruncated
from confide.local import simulated_verifier
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

LONG = [{"role": "user", "content": " ".join(f"word{n}" for n in range(400))}]
TOLD_WITHIN_S = 2.0
# The special tokens lie at the ends of demo-tiny's vocabulary of 2048.
NEVER_ENDS = {str(token): -100 for token in (0, 1, 2, 2045, 2046, 2047)}
SLOW = BackendChoice("echo", ("slow",), {"token_delay_ms": 50})


def stream_until(stack, after_events, act):
    """Stream through the transport, act in the middle, return the error and the seconds to it."""
    transport = EncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    acted_at = None
    received = b""
    with httpx2.Client(transport=transport, timeout=30) as client:
        body = {"model": "slow", "messages": LONG, "stream": True}
        try:
            with client.stream(
                "POST", "https://confide.invalid/v1/chat/completions", json=body
            ) as answer:
                for part in answer.iter_bytes():
                    received += part
                    if acted_at is None and received.count(b"data:") >= after_events:
                        act()
                        acted_at = time.monotonic()
        except (ConfideError, httpx2.HTTPError) as error:
            return error, time.monotonic() - acted_at, received
        return None, time.monotonic() - (acted_at or 0), received


def works(stack, model="echo"):
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything", max_retries=0) as client:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "still there"}]
        )
        return answer.choices[0].message.content


def kill(stack, name):
    child = stack.children[name]
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()


def test_an_enclave_killed_in_mid_stream_is_a_truncation_and_its_restart_heals(start_stack):
    stack = start_stack(ECHO, SLOW)
    assert works(stack)
    ledger.wait_for(stack, requests={"complete": 1}, statements={"complete": 1})
    error, seconds, received = stream_until(stack, 5, lambda: kill(stack, "enclave-0"))
    assert isinstance(error, StreamTruncated), error
    assert seconds < TOLD_WITHIN_S
    assert b"[DONE]" not in received
    # The statement of the cut answer died with the enclave; the gateway's own row did not.
    ledger.wait_for(stack, requests={"complete": 1, "failed": 1}, statements={"complete": 1})
    stack.start_enclave(0)
    # An unmodified client with its ordinary retries; the new enclave is verified on the way.
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything") as client:
        answer = client.chat.completions.create(model="echo", messages=LONG)
    assert "word399" in answer.choices[0].message.content


def test_a_gateway_killed_in_mid_stream_is_a_truncation_and_loses_no_ledger_line(start_stack):
    stack = start_stack(ECHO, SLOW)
    assert works(stack)
    ledger.wait_for(stack, requests={"complete": 1}, statements={"complete": 1})
    error, seconds, received = stream_until(stack, 5, lambda: kill(stack, "gateway"))
    assert isinstance(error, StreamTruncated), error
    assert seconds < TOLD_WITHIN_S
    assert b"[DONE]" not in received
    stack.start_gateway()
    assert "still there" in works(stack)
    # The killed gateway could not write its own row; the enclave kept its statement for it.
    ledger.wait_for(stack, requests={"complete": 2}, statements={"complete": 2, "cancelled": 1})


def test_a_backend_killed_in_mid_stream_is_a_sealed_error(start_stack):
    stack = start_stack(demo(), ECHO)
    enclave = psutil.Process(stack.children["enclave-0"].process.pid)
    engine = next(
        p for p in enclave.children(recursive=True) if "llamacpp" in " ".join(p.cmdline())
    )
    engine.nice(19)  # on a busy machine it could be done before the first piece is read here
    told, killed_at = None, None
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="x", max_retries=0) as client:
        try:
            for _ in client.chat.completions.create(
                model="demo-tiny",
                messages=[{"role": "user", "content": "Tell me a long story about a fox."}],
                stream=True,
                max_tokens=1500,
                logit_bias=NEVER_ENDS,
            ):
                if killed_at is None:
                    engine.kill()
                    killed_at = time.monotonic()
        except openai.APIError as error:
            told = error
    assert told is not None
    assert time.monotonic() - killed_at < TOLD_WITHIN_S
    assert told.code
    assert "still there" in works(stack)
    # The client hangs up as soon as it is told, before or after the gateway has seen the end.
    ledger.wait_until(lambda: told_of_the_failure(ledger.read(stack)))


def told_of_the_failure(found):
    requests = found.requests["complete"] + found.requests["cancelled"]
    return requests == 2 and dict(found.statements) == {"failed": 1, "complete": 1}


def test_with_two_enclaves_the_next_request_succeeds_on_the_other(start_stack):
    stack = start_stack(ECHO, SLOW, enclaves=2)
    for victim in ("enclave-0", "enclave-1"):
        assert works(stack)
        kill(stack, victim)
        assert "still there" in works(stack)
        stack.start_enclave(int(victim[-1]))
        stack_sees_both(stack)


def stack_sees_both(stack):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = httpx2.get(f"{stack.gateway_url}/.well-known/confide/keys").json()
        if len(found["replicas"]) == 2:
            return
        time.sleep(0.05)
    raise AssertionError("the gateway did not readmit the restarted enclave")


def test_a_client_that_goes_away_stops_the_backend(start_stack):
    stack = start_stack(ECHO, SLOW)
    with OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(model="slow", messages=LONG, stream=True)
        next(iter(stream))
        stream.close()
    deadline = time.monotonic() + 2
    while open_generations(stack) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def open_generations(stack):
    port = stack.options.enclave_ports[0]
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    lines = [x for x in text.splitlines() if x.startswith("confide_enclave_open_requests")]
    assert lines, text
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
