"""Bad input gets one clear error, in OpenAI's shape, and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time

import httpx2
import pytest
from tests.e2e import ledger
from tests.stacks import ECHO, options

from confide import EncryptedTransport
from confide.errors import ConfigError
from confide.gateway.accounts import Accounts
from confide.identity.api_keys import mint
from confide.local import Home, Stack, simulated_verifier
from confide.local.enclave_file import BackendChoice

pytestmark = pytest.mark.e2e

MESSAGES = [{"role": "user", "content": "hello"}]


def post(stack, body, **headers):
    return httpx2.post(
        f"{stack.proxy_url}/v1/chat/completions",
        content=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={"content-type": "application/json", **headers},
        timeout=60,
    )


def openai_error(answer):
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return error


def test_a_33_mb_body_is_refused_with_413(stack):
    body = b'{"model":"echo","messages":[{"role":"user","content":"' + b"x" * (33 << 20) + b'"}]}'
    answer = post(stack, body)
    assert answer.status_code == 413
    assert openai_error(answer)["code"]


def test_a_33_mb_body_through_the_transport_is_refused_before_it_leaves(stack):
    transport = EncryptedTransport(
        stack.gateway_url, api_key=stack.api_key, verifier=simulated_verifier(stack.home)
    )
    with httpx2.Client(transport=transport, timeout=60) as client:
        answer = client.post(
            "https://confide.invalid/v1/chat/completions", content=b"[" + b"1" * (33 << 20)
        )
    assert answer.status_code == 413


@pytest.mark.parametrize("room", ["proxy", "gateway"])
def test_65_kb_of_headers_are_refused(stack, room):
    port = stack.options.proxy_port if room == "proxy" else stack.options.gateway_port
    path = "/v1/chat/completions" if room == "proxy" else "/v1/sealed"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 2\r\n"
        connection.sendall(head.encode() + b"x-filler: " + b"y" * 66_560 + b"\r\n\r\n{}")
        status = int(connection.recv(4096).split(b" ", 2)[1])
    assert status in {400, 431}


@pytest.mark.parametrize("body", [b"{", b"", b"[1, 2]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_malformed_json_is_a_400_that_came_sealed(stack, body):
    answer = post(stack, body)
    assert answer.status_code == 400
    assert openai_error(answer)["type"] == "invalid_request_error"


def test_an_unknown_model_is_a_404(stack):
    answer = post(stack, {"model": "absent", "messages": MESSAGES})
    assert answer.status_code == 404
    assert openai_error(answer)["code"] == "model_not_found"


@pytest.mark.parametrize("field", ["cache_prompt", "id_slot", "cache_salt"])
def test_an_engine_control_field_is_refused_by_name(stack, field):
    model = "demo-tiny" if field != "cache_salt" else "echo"
    answer = post(stack, {"model": model, "messages": MESSAGES, field: 1})
    assert answer.status_code == 400
    assert openai_error(answer)["param"] == field


@pytest.mark.parametrize("kind", ["malformed", "well-formed"])
def test_a_wrong_key_is_a_401(stack, kind):
    key = "ck_wrong" if kind == "malformed" else mint(bytes(32), now=1.0)[0].reveal()
    transport = EncryptedTransport(
        stack.gateway_url, api_key=key, verifier=simulated_verifier(stack.home)
    )
    with httpx2.Client(transport=transport) as client:
        answer = client.post(
            "https://confide.invalid/v1/chat/completions",
            json={"model": "echo", "messages": MESSAGES},
        )
    assert answer.status_code == 401
    assert openai_error(answer)["code"] == "invalid_api_key"


def test_an_expired_key_is_a_401_of_its_own(stack):
    pepper = bytes.fromhex((stack.home.gateway / "pepper").read_text().strip())
    clear, record = mint(pepper, now=1.0, expires_at=2)
    Accounts(stack.home.gateway / "gateway.db").add_key(record)
    transport = EncryptedTransport(
        stack.gateway_url, api_key=clear.reveal(), verifier=simulated_verifier(stack.home)
    )
    codes = set()
    with httpx2.Client(transport=transport) as client:
        deadline = time.monotonic() + 10
        while "key_expired" not in codes:  # a running gateway follows its database in a second
            answer = client.get("https://confide.invalid/v1/models")
            assert answer.status_code == 401
            codes.add(openai_error(answer)["code"])
            assert time.monotonic() < deadline, codes


def test_broken_and_missing_models_are_one_error_each(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(500))
    for path in (broken, tmp_path / "missing.gguf"):
        home = Home(tmp_path / f"home-{path.stem}")
        chosen = options(BackendChoice("llamacpp", ("m",), {"model_path": str(path)}))
        stack = Stack(home, chosen)
        with pytest.raises(ConfigError) as refusal:
            stack.start()
        assert path.name in str(refusal.value)
        assert "Traceback" not in home.log("enclave-0").read_text()
        assert stack.children == {}


def test_a_backend_that_answers_html_is_a_sealed_error(start_stack):
    from tests.doubles.openai_server import html_server

    with html_server() as url:
        stack = start_stack(
            BackendChoice("openai_http", ("m",), {"base_url": f"{url}/v1", "probe": False}), ECHO
        )
        answer = post(stack, {"model": "m", "messages": MESSAGES})
        assert answer.status_code == 503
        assert openai_error(answer)["code"]
        assert "<html" not in answer.text


def test_a_second_proxy_on_the_same_port_names_the_pid(stack, tmp_path):
    home = Home(tmp_path / "second")
    chosen = options(ECHO, proxy_port=stack.options.proxy_port)
    with pytest.raises(ConfigError) as refusal:
        Stack(home, chosen).start()
    assert str(stack.children["proxy"].process.pid) in str(refusal.value)
    assert not home.path.exists()


def test_a_second_stack_on_the_same_data_directory_is_refused(stack):
    with pytest.raises(ConfigError) as refusal:
        Stack(stack.home, options(ECHO)).start()
    assert str(os.getpid()) in str(refusal.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root: sudo make test")
def test_a_full_disk_stops_admission_and_loses_no_ledger_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow mounting: run on one that does, make test")
    try:
        home = Home(tmp_path / "home")
        home.prepare()
        home.gateway.rmdir()
        home.gateway.symlink_to(disk)
        small = {"requests_per_minute": 100_000, "concurrent_streams": 200, "ledger_rows": 5}
        with Stack(home, options(ECHO, gateway=small)) as stack:
            body = {"model": "echo", "messages": MESSAGES}
            assert post(stack, body).status_code == 200
            ledger.wait_for(stack, requests={"complete": 1}, statements={"complete": 1})
            fill(disk / "filler")
            statuses = until_refused(lambda: post(stack, body))
            (disk / "filler").unlink()
            served = 1 + statuses.count(200)
            ledger.wait_for(stack, requests={"complete": served}, statements={"complete": served})
            assert post(stack, body).status_code == 200
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def until_refused(ask):
    """Ask until the gateway refuses because its ledger cannot be written."""
    statuses = []
    for _ in range(2000):  # what the database's own files still have room for comes first
        answer = ask()
        statuses.append(answer.status_code)
        if answer.status_code == 503:
            assert openai_error(answer)["code"] == "ledger_unavailable"
            return statuses
        assert answer.status_code == 200
    raise AssertionError("a full disk did not stop admission")


def fill(path):
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(512))
    os.close(descriptor)
