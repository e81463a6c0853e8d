"""Whatever is wrong, each dialect's client gets its own kind of error, and no log the content.

what is wrong x dialect -> status, type, code; no stack trace; nothing of the content logged
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.stacks import ECHO, options

from confide.gateway.accounts import Accounts
from confide.identity.api_keys import mint
from confide.local import Canary, Home, Stack
from confide.local.readiness import free_port, json_of

pytestmark = pytest.mark.e2e

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
LIMIT = 32 * 1024 * 1024


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong, and what each dialect says to it.

    Attributes:
        status: HTTP status, by dialect.
        type: Of the error, by dialect; a dialect that is absent is not asked.
        code: Our slug or OpenAI's word; None is not looked at.
        proxy: Which of the proxies is asked.
        body: Bytes, or changes of a good body; a value None removes the field.
        headers: Further headers.
        message: Words that the message has.
    """

    status: dict[str, int]
    type: dict[str, str]
    code: str | None = None
    proxy: str = "good"
    body: bytes | dict = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""


def both(status):
    return {"openai": status, "anthropic": status}


INVALID = both("invalid_request_error")
FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\necho\r\n--b--\r\n'
MATRIX = {
    "a body over the limit": Wrong(
        both(413),
        {"openai": "invalid_request_error", "anthropic": "request_too_large"},
        "request_too_large",
        body=b'{"model":"echo","max_tokens":1,"x":"CANARY' + b"x" * LIMIT + b'"}',
    ),
    "malformed JSON": Wrong(both(400), INVALID, body=b'{"model": "echo", "messages": CANARY'),
    "a list where an object should be": Wrong(both(400), INVALID, body=b'["CANARY"]'),
    "bytes that are no UTF-8": Wrong(both(400), INVALID, body=b'{"CANARY": "\xff"}'),
    "a form where JSON should be": Wrong(
        both(400), INVALID, body=FORM, headers={"content-type": "multipart/form-data; boundary=b"}
    ),
    "no messages": Wrong(both(400), INVALID, body={"messages": None}),
    "no model": Wrong(both(400), INVALID, body={"model": None}),
    "no max_tokens": Wrong(
        {"anthropic": 400},
        {"anthropic": "invalid_request_error"},
        body={"max_tokens": None},
        message="max_tokens",
    ),
    "an unknown model": Wrong(
        both(404),
        {"openai": "invalid_request_error", "anthropic": "not_found_error"},
        "model_not_found",
        body={"model": "CANARY"},
    ),
    "a version that is none": Wrong(
        {"anthropic": 400},
        {"anthropic": "invalid_request_error"},
        headers={"anthropic-version": "CANARY"},
        message="anthropic-version",
    ),
    "a version from before the API": Wrong(
        {"anthropic": 400},
        {"anthropic": "invalid_request_error"},
        headers={"anthropic-version": "2022-12-31"},
    ),
    "a key that is none": Wrong(
        both(401),
        {"openai": "invalid_request_error", "anthropic": "authentication_error"},
        "invalid_api_key",
        proxy="keyless",
        headers={"authorization": "Bearer sk-CANARY"},
    ),
    "no key at all": Wrong(
        both(401),
        {"openai": "invalid_request_error", "anthropic": "authentication_error"},
        proxy="keyless",
    ),
    "a key that expired": Wrong(
        both(401),
        {"openai": "invalid_request_error", "anthropic": "authentication_error"},
        "key_expired",
        proxy="expired",
    ),
    "headers that are too long": Wrong(
        both(431), INVALID, "headers_too_large", headers={"x-filler": "CANARY" + "y" * 66_560}
    ),
    "a gateway that is down": Wrong(
        both(503),
        {"openai": "connection_error", "anthropic": "api_error"},
        "gateway_unreachable",
        proxy="cut off",
    ),
    "an enclave that was refused": Wrong(
        both(502),
        {"openai": "attestation_error", "anthropic": "api_error"},
        proxy="distrusting",
    ),
}
CASES = [(name, dialect) for name, wrong in MATRIX.items() for dialect in wrong.type]


@contextmanager
def another_proxy(stack, folder: Path, home: Home | None = None, **settings) -> Iterator[str]:
    """A proxy process of its own before the same gateway; yields its URL."""
    port = free_port()
    folder.mkdir(parents=True)
    chosen = {
        "port": port,
        "gateway_url": stack.gateway_url,
        "compat": "auto",
        "api_key_file": str(stack.home.api_key),
        **settings,
    }
    file = folder / "proxy.json"
    file.write_text(json.dumps({name: value for name, value in chosen.items() if value}))
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "confide.local", "proxy"),
                *("--settings", str(file), "--home", str((home or stack.home).path)),
            ],
            stdin=subprocess.PIPE,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 20
        while json_of(port, "/") is None:
            assert child.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(10)
        child.stdin.close()


@pytest.fixture(scope="module")
def proxies(tmp_path_factory):
    """URL of each proxy, and the folder that all logs are in."""
    folder = tmp_path_factory.mktemp("matrix")
    with ExitStack() as cleanup:
        stack = cleanup.enter_context(Stack(Home(folder / "home"), options(ECHO)))
        pepper = bytes.fromhex((stack.home.gateway / "pepper").read_text().strip())
        clear, record = mint(pepper, now=1.0, expires_at=2)
        Accounts(stack.home.gateway / "gateway.db").add_key(record)
        expired = folder / "expired"
        expired.write_text(clear.reveal())
        expired.chmod(0o600)
        # Another simulated root: the evidence of the stack's enclave is signed by a stranger.
        distrusting = Home(folder / "other-home")
        distrusting.prepare()
        distrusting.simulated_root.write_bytes(os.urandom(32))
        further = {
            "keyless": {"api_key_file": None},
            "expired": {"api_key_file": str(expired)},
            "cut off": {"gateway_url": f"http://127.0.0.1:{free_port()}"},
            "distrusting": {"home": distrusting},
        }
        urls = {"good": stack.proxy_url}
        for name, settings in further.items():
            one = another_proxy(stack, folder / "proxies" / name, **settings)
            urls[name] = cleanup.enter_context(one)
        yield urls, folder


def request_of(wrong, dialect, marker):
    body = wrong.body
    if isinstance(body, dict):
        good = {"model": "echo", "max_tokens": 5, "stream": False,
                "messages": [{"role": "user", "content": "CANARY"}]}  # fmt: skip
        body = json.dumps({k: v for k, v in {**good, **body}.items() if v is not None}).encode()
    headers = {"content-type": "application/json"}
    if dialect == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    headers |= wrong.headers
    headers = {name: value.replace("CANARY", marker) for name, value in headers.items()}
    return body.replace(b"CANARY", marker.encode()), headers


def check_shape(answer, dialect):
    """Return type, code and message of an error that has its dialect's whole shape."""
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    error = told["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    if dialect == "openai":
        assert told.keys() == {"error"}
        assert error.keys() == {"message", "type", "param", "code"}
    else:
        assert told["type"] == "error"
        assert told.keys() == {"type", "error", "request_id"}
        assert told["request_id"] == answer.headers["request-id"]
    return error["type"], error.get("code"), error["message"]


@pytest.mark.parametrize(("name", "dialect"), CASES, ids=[f"{n}, {d}" for n, d in CASES])
def test_what_is_wrong_is_told_in_the_callers_dialect(proxies, name, dialect):
    urls, folder = proxies
    wrong, canary = MATRIX[name], Canary()
    body, headers = request_of(wrong, dialect, canary.text)
    answer = ask_until_known(urls[wrong.proxy] + PATHS[dialect], body, headers, wrong.code)
    kind, code, message = check_shape(answer, dialect)
    assert (answer.status_code, kind) == (wrong.status[dialect], wrong.type[dialect])
    assert wrong.code in (None, code)
    assert wrong.message in message
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    assert canary.text not in answer.text
    canary.assert_absent_from(folder / "home" / "logs", folder / "proxies", folder / "home/gateway")


def ask_until_known(url, body, headers, code):
    """Ask; a key is known to a running gateway a moment after it was written."""
    deadline = time.monotonic() + 10
    while True:
        answer = httpx2.post(url, content=body, headers=headers, timeout=30)
        pending = code == "key_expired" and "invalid_api_key" in answer.text
        if not pending:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("dialect", PATHS)
def test_a_refused_enclave_is_told_with_the_check_that_failed(proxies, dialect):
    urls, _ = proxies
    body, headers = request_of(Wrong({}, {}), dialect, "x")
    refused = httpx2.post(urls["distrusting"] + PATHS[dialect], content=body, headers=headers)
    down = httpx2.post(urls["cut off"] + PATHS[dialect], content=body, headers=headers)
    _, code, message = check_shape(refused, dialect)
    assert code == "simulated.root_not_pinned", "the name of the check, with its dot"
    assert "root" in message
    if dialect == "anthropic":
        assert message.startswith(f"attestation refused ({code})")
    assert check_shape(down, dialect)[1] != code
    assert refused.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/messages", {}, "anthropic"),
        ("/v1/messages/count_tokens?beta=true", {}, "anthropic"),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, "anthropic"),
        ("/v1/models", {}, "openai"),
        ("/v1/responses", {}, "openai"),
    ],
)
def test_a_head_too_long_for_the_parser_is_told_in_the_paths_dialect(
    proxies, path, headers, dialect
):
    urls, _ = proxies
    long = {**headers, "x-filler": "y" * 200_000}
    answer = httpx2.post(urls["good"] + path, content=b"{}", headers=long)
    assert answer.status_code == 431
    check_shape(answer, dialect)
