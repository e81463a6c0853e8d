"""T-07: a web page cannot talk to the local proxy, neither directly nor by DNS rebinding."""

from __future__ import annotations

import json
import socket

import pytest

pytestmark = pytest.mark.e2e

BODY = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]}).encode()


def raw(stack, *headers, method="POST", body=BODY):
    """Send a request with exactly these headers; return status and answer."""
    lines = [f"{method} /v1/chat/completions HTTP/1.1", *headers, "connection: close"]
    lines += [f"content-length: {len(body)}", "content-type: application/json", "", ""]
    with socket.create_connection(("127.0.0.1", stack.options.proxy_port), timeout=20) as peer:
        peer.sendall("\r\n".join(lines).encode() + body)
        answer = b""
        while part := peer.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer


def test_the_machines_own_clients_are_served(stack):
    status, _ = raw(stack, f"host: 127.0.0.1:{stack.options.proxy_port}")
    assert status == 200


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:{port}", "127.0.0.1.attacker.example:{port}", ""]
)
def test_a_rebound_name_is_refused(stack, host):
    status, answer = raw(stack, "host: " + host.format(port=stack.options.proxy_port))
    assert status in {400, 403, 421}
    assert b"hello" not in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "http://127.0.0.1.attacker.example"]
)
def test_another_origin_is_refused(stack, origin):
    here = f"host: 127.0.0.1:{stack.options.proxy_port}"
    status, _ = raw(stack, here, f"origin: {origin}")
    assert status == 403


def test_no_page_is_told_that_it_may_read_the_answer(stack):
    here = f"host: 127.0.0.1:{stack.options.proxy_port}"
    _, answer = raw(stack, here)
    assert b"access-control-allow" not in answer.lower()
    status, preflight = raw(
        stack,
        here,
        "origin: https://attacker.example",
        "access-control-request-method: POST",
        method="OPTIONS",
        body=b"",
    )
    assert status >= 400
    assert b"access-control-allow" not in preflight.lower()


def test_the_proxy_listens_on_loopback_only(stack):
    import psutil

    pid = stack.children["proxy"].process.pid
    listening = [c.laddr.ip for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
