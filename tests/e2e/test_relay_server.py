"""T-11 behind somebody else's server: the relay of the how-to page hands sealed requests on, blind.

The page's program runs under uvicorn in a process of its own, in front of a running stack.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import httpx2
import pytest
from openai import APIConnectionError, OpenAI
from tests.attacks.tampering_relay import TamperingRelay
from tests.e2e.wire_tap import WireTap
from tests.pages import post, program, served
from tests.stacks import ECHO

from confide import EncryptedTransport
from confide.errors import AttestationError, ConfideError, SealingError
from confide.local import Canary, simulated_verifier
from confide.local.canary import process_memory
from confide.local.readiness import free_port

pytestmark = pytest.mark.e2e

PAGE = "how-to/relay-from-your-server.md"
TOKEN = "token-of-ada"


@pytest.fixture(scope="module")
def tapped(stack, tmp_path_factory):
    """The page's server, and what passes between it and the gateway."""
    tap = WireTap(int(stack.gateway_url.rpartition(":")[2]))
    environment = {"GATEWAY_URL": tap.url, "GATEWAY_KEY": stack.api_key}
    source = program(PAGE, "relay_server.py")
    with served(tmp_path_factory.mktemp("relay"), source, **environment) as server:
        yield server, tap
    tap.close()


@pytest.fixture
def server(tapped):
    return tapped[0]


def sdk(stack, url, token=TOKEN):
    transport = EncryptedTransport(url, api_key=token, verifier=simulated_verifier(stack.home))
    http = httpx2.Client(
        transport=transport, headers={"cookie": "session=of-ada", "x-user": "ada"}, timeout=30
    )
    return OpenAI(
        base_url="https://confide.invalid/v1", api_key="unused", http_client=http, max_retries=0
    )


def ask(client, words, **options):
    return client.chat.completions.create(
        messages=[{"role": "user", "content": words}], **{"model": "echo", **options}
    )


def test_the_sdk_verifies_through_the_relay_and_gets_an_answer(stack, server):
    with sdk(stack, f"{server.url}/confide") as client:
        answer = ask(client, "Hello", model="demo-tiny", max_tokens=8)
    assert answer.choices[0].message.content.strip()


def test_an_answer_streams_through_while_it_is_made(stack, server):
    words = " ".join(f"word{n}" for n in range(20))
    with sdk(stack, f"{server.url}/confide") as client:
        times, text = [], ""
        for event in ask(client, words, model="slow", stream=True):  # 50 ms a word
            times.append(time.monotonic())
            text += (event.choices[0].delta.content or "") if event.choices else ""
    assert words in text
    assert times[-1] - times[0] > 0.5


def test_the_relay_never_holds_what_passes(stack, tapped):
    server, tap = tapped
    prompt = Canary()
    words = " ".join(["word"] * 12 + [prompt.text])
    answered = ""
    with sdk(stack, f"{server.url}/confide") as client:
        for event in ask(client, words, model="slow", stream=True):
            answered += (event.choices[0].delta.content or "") if event.choices else ""
            if answered.count("word") == 6:
                assert prompt.found_in(process_memory(server.process.pid)) is None
    assert prompt.text in answered
    memory = list(process_memory(server.process.pid))
    assert sum(map(len, memory)) > 10_000_000, "a search of nearly nothing proves nothing"
    assert any(b"the rest of your application" in block for block in memory)
    assert prompt.found_in(memory) is None
    assert len(tap.up) > 1000
    assert prompt.found_in([bytes(tap.up), bytes(tap.down)]) is None
    prompt.assert_absent_from(server.log)


def test_users_credentials_and_cookies_stay_at_the_relay(stack, tapped):
    server, tap = tapped
    with sdk(stack, f"{server.url}/confide") as client:
        ask(client, "Hello")
    up = bytes(tap.up).lower()
    assert f"authorization: bearer {stack.api_key}".encode().lower() in up
    for theirs in (TOKEN, "of-ada", "x-user", "user-agent", "cookie", "x-forwarded-for"):
        assert theirs.encode() not in up


@pytest.mark.parametrize("token", ["someone-else", "token-of-adam", ""])
def test_a_stranger_is_refused_before_the_gateway_is_asked(stack, tapped, token):
    server, tap = tapped
    status, body = post(
        f"{server.url}/confide/v1/sealed",
        b"x" * 2000,
        authorization=f"Bearer {token}",
        **{"content-type": "message/ohttp-chunked-req"},
    )
    assert (status, json.loads(body)["code"]) == (401, "invalid-api-key")
    assert b"x" * 100 not in bytes(tap.up)


def test_the_rest_of_the_application_is_untouched(server):
    assert httpx2.get(server.url).text == "the rest of your application"
    assert httpx2.get(f"{server.url}/confide/v1/key").status_code == 404


def test_closing_a_stream_ends_it_at_the_gateway(stack, server):
    row = '"outcome":"cancelled"'
    before = stack.home.log("gateway").read_text().count(row)
    with sdk(stack, f"{server.url}/confide") as client:
        answer = ask(client, " ".join(["word"] * 400), model="slow", stream=True)
        next(iter(answer))
        answer.close()
        deadline = time.monotonic() + 5
        while stack.home.log("gateway").read_text().count(row) == before:
            assert time.monotonic() < deadline, "the gateway did not notice"
            time.sleep(0.05)  # between two polls


def test_the_local_proxy_works_with_the_relay_as_its_gateway(start_stack, tmp_path):
    port = free_port()
    stack = start_stack(ECHO, proxy={"gateway_url": f"http://127.0.0.1:{port}/confide"})
    # The stack's proxy has one key; here it is the user's credential at the relay.
    source = program(PAGE, "relay_server.py").replace(TOKEN, stack.api_key)
    environment = {"GATEWAY_URL": stack.gateway_url, "GATEWAY_KEY": stack.api_key}
    with (
        served(tmp_path / "relay", source, port=port, **environment) as server,
        OpenAI(base_url=f"{stack.proxy_url}/v1", api_key="anything") as client,
    ):
        assert "one two" in ask(client, "one two").choices[0].message.content
        assert "POST /confide/v1/sealed" in server.log.read_text()


def test_the_enclave_can_be_verified_through_the_relay(server):
    found = subprocess.run(
        [sys.executable, "-m", "confide", "verify", f"{server.url}/confide"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # The evidence came and was judged: production code refuses a simulated platform (3).
    # 5 would mean that it could not be fetched.
    assert found.returncode == 3, found.stdout + found.stderr


# ---- a relay that is not honest --------------------------------------------------------------


@pytest.fixture
def dishonest(stack):
    """A relay that holds the server's key and changes what it likes."""
    relay = TamperingRelay(stack.gateway_url)
    yield relay
    relay.close()


def flipped(at):
    return lambda message: message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]


def refusal(stack, relay):
    """Ask through a dishonest relay; return the error of ours that the SDK's is caused by."""
    with (
        sdk(stack, relay.url, stack.api_key) as client,
        pytest.raises(APIConnectionError) as caught,
    ):
        ask(client, "Hello")
    error = caught.value
    while not isinstance(error, ConfideError):
        error = error.__cause__
    return error


def test_a_changed_answer_is_refused(stack, dishonest):
    dishonest.on_answer = flipped(60)
    assert isinstance(refusal(stack, dishonest), SealingError)


def test_a_cut_answer_is_refused(stack, dishonest):
    dishonest.cut_answer_at = 200
    assert isinstance(refusal(stack, dishonest), SealingError)


def test_swapped_evidence_is_refused_before_anything_is_sent(stack, dishonest):
    def swap(path, content):
        envelope = content.decode()
        return envelope.replace("A", "B").encode() if "/evidence/" in path else content

    dishonest.on_document = swap
    assert isinstance(refusal(stack, dishonest), AttestationError)
    assert dishonest.seen == []
