"""The proxy under its real server on a loopback port."""

import contextlib
import io
import json
import os
import select
import socket
import threading
import time

import click.testing
import httpx2
import openai
import pytest
import uvicorn
from tests.doubles.sealed_stack import SealedStack
from tests.unit.attest.enclave_double import policy as strict_policy

from confide.apps.proxy import (
    ProxyProtocol,
    Surroundings,
    build_proxy,
    policy_verifier,
    serve_proxy,
)
from confide.attest.verifier import Verifier
from confide.cli.main import cli
from confide.client import AsyncEncryptedTransport
from confide.config.proxy import ProxySettings
from confide.errors import AttestationError, ConfideError, ConfigError, GatewayError, SealingError
from confide.proxy.app import build_app
from confide.proxy.ports import holder_of
from confide.telemetry import logs

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Running:
    """A proxy that listens, and the double behind it."""

    def __init__(self, stack, verifier, compat):
        self.stack = stack
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        transport = AsyncEncryptedTransport(
            stack.url, verifier=verifier, transport=stack.transport, clock=stack.clock
        )
        config = uvicorn.Config(
            build_app(transport, port=self.port, compat=compat),
            http=ProxyProtocol,
            log_config=None,
            access_log=False,
            lifespan="on",
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True
        )

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def sdk(self, **options):
        http = httpx2.Client(trust_env=False)
        return openai.OpenAI(
            base_url=self.base_url, api_key="ck_test", max_retries=0, http_client=http, **options
        )


@contextlib.contextmanager
def running(stack, verifier=None, compat="openai"):
    proxy = Running(stack, verifier or stack.verifier, compat)
    proxy.thread.start()
    try:
        yield proxy
    finally:
        proxy.server.should_exit = True
        proxy.thread.join(10)
        proxy.listener.close()


@pytest.fixture
def proxy():
    with running(SealedStack()) as started:
        yield started


def factors_logged(verifier, outcome):
    """Start a proxy, wait for its first verification, return the factors in its log."""
    lines = io.StringIO()
    logs.configure("info", lines)
    try:
        with running(SealedStack(), verifier):
            deadline = time.monotonic() + 10
            while f'"outcome":"{outcome}"' not in lines.getvalue():
                assert time.monotonic() < deadline
                threading.Event().wait(0.01)
        found = [json.loads(line) for line in lines.getvalue().splitlines()]
    finally:
        logs.configure("info", None)
    return {line["factor"]: line["outcome"] for line in found if line["event"] == "factor"}


def test_the_log_holds_every_factor_of_an_accepted_enclave():
    found = factors_logged(None, "verified")
    assert found["fresh-and-bound"] == "PASS"
    assert found["hardware-root"] == "FAIL"  # simulated


def test_the_log_holds_every_factor_of_a_refused_enclave():
    found = factors_logged(Verifier(strict_policy()), "failed")
    assert found["evidence-kind"] == "FAIL"
    assert found["fresh-and-bound"] == "SKIP"


def test_the_openai_sdk_chats_through_the_proxy(proxy):
    sdk = proxy.sdk()
    whole = sdk.chat.completions.create(**ASK)
    stream = sdk.chat.completions.create(**ASK, stream=True)
    assert whole.choices[0].message.content == "hello world"
    assert "".join(c.choices[0].delta.content or "" for c in stream) == "hello world"


def test_a_cut_stream_is_an_error_for_the_sdk(proxy):
    proxy.stack.tamper = lambda pieces: list(pieces)[:2]
    with pytest.raises(openai.APIError) as caught:
        list(proxy.sdk().chat.completions.create(**ASK, stream=True))
    assert caught.value.code == "stream_truncated"


def test_a_client_that_ignores_events_sees_a_broken_connection(proxy):
    proxy.stack.tamper = lambda pieces: list(pieces)[:2]
    with (
        httpx2.Client(trust_env=False, base_url=proxy.base_url) as client,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        client.post(
            "chat/completions",
            json={**ASK, "stream": True},
            headers={"authorization": "Bearer ck_test"},
        )


@pytest.mark.parametrize("pause", [False, True])
def test_a_head_that_is_too_long_is_refused_in_openais_shape(proxy, pause):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        start = f"GET / HTTP/1.1\r\nhost: 127.0.0.1:{proxy.port}\r\nx-long: ".encode()
        connection.sendall(start + b"a" * 66 * 1024 + (b"" if pause else b"\r\n\r\n"))
        connection.settimeout(5)
        answer = b""
        while b'"}}' not in answer and (piece := connection.recv(4096)):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"headers_too_large"' in answer


def test_a_caller_that_keeps_sending_a_long_head_can_still_read_the_refusal(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"GET / HTTP/1.1\r\nx-long: " + b"a" * 66 * 1024)
        assert select.select([connection], [], [], 5)[0]  # the refusal is there
        for _ in range(4):
            connection.sendall(b"a" * 64 * 1024)
        assert connection.recv(4096).startswith(b"HTTP/1.1 431")


def test_what_is_not_http_is_refused(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        connection.settimeout(5)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


def settings(**values):
    return ProxySettings.model_validate({"gateway_url": SealedStack.url, **values})


def test_a_second_proxy_on_the_port_is_told_who_holds_it(proxy, tmp_path):
    with pytest.raises(ConfigError) as caught:
        serve_proxy(
            settings(port=proxy.port, log_level="error"),
            verifier=proxy.stack.verifier,
            surroundings=Surroundings(tmp_path),
        )
    assert f"(pid {os.getpid()})" in str(caught.value)


def test_the_holder_of_a_port_is_found():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert holder_of("127.0.0.1", port) == os.getpid()
        assert holder_of("127.0.0.3", port) is None
        assert holder_of("0.0.0.0", port) == os.getpid()
    assert holder_of("127.0.0.1", port) is None


def test_an_open_connection_does_not_hold_the_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        caller = socket.create_connection(("127.0.0.1", port))
        accepted, _ = listener.accept()
    with caller, accepted:
        assert holder_of("127.0.0.1", port) is None


def test_the_holder_of_an_ipv6_port_is_found():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert holder_of("::1", listener.getsockname()[1]) == os.getpid()


def test_a_system_without_proc_has_no_holder(tmp_path):
    assert holder_of("127.0.0.1", 80, proc=tmp_path) is None


def chat(*arguments, **variables):
    """Run `confide chat`; return what it printed, or the error it raised."""
    runner = click.testing.CliRunner()
    result = runner.invoke(
        cli, ["chat", *arguments], env={"OPENAI_API_KEY": "ck_test", **variables}
    )
    if isinstance(result.exception, ConfideError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_confide_chat_prints_the_answer(proxy):
    assert chat("hi", OPENAI_BASE_URL=proxy.base_url) == "hello world\n"
    assert proxy.stack.enclave.requests[0].path == "/v1/models"  # no --model: the first one


def test_confide_chat_prints_one_json_object(proxy):
    printed = chat("hi", "--model", "m", "--json", "--base-url", proxy.base_url)
    assert '"answer": "hello world"' in printed


def test_confide_chat_finds_the_proxy_in_client_env(proxy, tmp_path):
    (tmp_path / "client.env").write_text(
        f"export OPENAI_BASE_URL={proxy.base_url}\nexport OPENAI_API_KEY=ck_file\n"
    )
    printed = chat("hi", CONFIDE_HOME=str(tmp_path), OPENAI_API_KEY="sk-for-openai")
    assert printed == "hello world\n"
    # A key of the environment that is meant for OpenAI goes to no other place.
    assert proxy.stack.posts[0].headers["authorization"] == "Bearer ck_file"


def test_confide_chat_without_any_proxy_says_so(tmp_path):
    with pytest.raises(ConfigError):
        chat("hi", CONFIDE_HOME=str(tmp_path), OPENAI_BASE_URL="")


def test_confide_chat_knows_a_refused_enclave_from_a_refusing_gateway(proxy):
    from tests.doubles.sealed_stack import Refusal

    proxy.stack.refusals = [Refusal.of("invalid-api-key", 401)]
    with pytest.raises(GatewayError):
        chat("hi", "--model", "m", "--base-url", proxy.base_url)
    with running(SealedStack(), SealedStack().verifier) as other, pytest.raises(AttestationError):
        chat("hi", "--model", "m", "--base-url", other.base_url)


def test_confide_chat_does_not_end_normally_on_a_cut_stream(proxy):
    proxy.stack.tamper = lambda pieces: list(pieces)[:2]
    with pytest.raises(SealingError):
        chat("hi", "--model", "m", "--base-url", proxy.base_url)


def test_confide_chat_prints_no_control_characters(proxy):
    from tests.doubles.sealed_stack import delta, sse

    proxy.stack.enclave.model = lambda request: sse(delta("\x1b[2J"), "[DONE]")
    printed = chat("hi", "--model", "m", "--base-url", proxy.base_url)
    assert "\x1b" not in printed


def test_a_proxy_without_a_policy_does_not_start():
    with pytest.raises(ConfigError):
        policy_verifier(settings())


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_an_unusable_key_file_is_refused(tmp_path, content):
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as refusal:
        build_proxy(settings(api_key_file=path), verifier=SealedStack().verifier)
    assert refusal.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("32mb", 32 * 1024**2),
        ("1.5 mb", 1_572_864),
        ("1KB", 1024),
        ("7", 7),
        (9, 9),
        ("2g", 2 * 1024**3),
    ],
)
def test_sizes_are_written_as_people_write_them(text, size):
    assert settings(json_body_limit=text).json_body_limit == size


@pytest.mark.parametrize(
    "text", ["", "mb", "-1", "0", ".5mb", "1.mb", "1e9", "0.0001b", "9" * 99, "32 mib", "1tb"]
)
def test_other_sizes_are_refused(text):
    with pytest.raises(ValueError):
        settings(json_body_limit=text)


def test_listening_for_other_machines_needs_the_names_they_use():
    with pytest.raises(ValueError):
        settings(host="0.0.0.0")
    assert settings(host="0.0.0.0", allowed_hosts=["proxy"]).host == "0.0.0.0"


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError):
        settings(verify=False)
