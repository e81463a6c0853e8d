"""`confide chat`: one prompt, one answer, streamed to the terminal."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from confide.cli.output import emit, printable
from confide.errors import (
    AttestationError,
    ConfideError,
    ConfigError,
    EnclaveError,
    GatewayError,
    SealingError,
    StreamTruncated,
    TransportError,
)

if TYPE_CHECKING:
    import httpx2

__all__ = ["register"]

_START = "start one with confide up or confide proxy run, or give --base-url"


@click.command("chat")
@click.argument("prompt")
@click.option("--model", metavar="NAME", help="Model to ask. Default: the first one offered.")
@click.option(
    "--base-url",
    metavar="URL",
    help="Where the proxy is, with /v1. Default: OPENAI_BASE_URL, or client.env in the data"
    " directory.",
)
@click.option(
    "--gateway", metavar="URL", help="Go to this gateway without a proxy. Needs --policy."
)
@click.option(
    "--policy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Appraisal policy (TOML) for --gateway.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def chat(
    prompt: str,
    model: str | None,
    base_url: str | None,
    gateway: str | None,
    policy: Path | None,
    as_json: bool,
) -> None:
    """Send one prompt through the seal and print the answer.

    The answer is printed while it is made. PROMPT - reads standard input. The API key is
    CONFIDE_API_KEY, or OPENAI_API_KEY from where the base URL is. Exits 3 if no enclave was
    accepted, 4 if the gateway refuses, 5 if nothing answers.

    \b
    Example:
      $ confide chat "What can you see of me?"
    """
    import httpx2

    text = sys.stdin.read() if prompt == "-" else prompt
    try:
        with _client(base_url, gateway, policy) as client:
            name = model or _first_model(client)
            _ask(client, name, text, as_json)
    except httpx2.TransportError as error:
        if isinstance(error, ConfideError):
            raise
        raise TransportError(f"no answer from {client.base_url.host}", hint=_START) from error


def register(group: click.Group) -> None:
    """Add the command to the root group."""
    group.add_command(chat)


def _client(base_url: str | None, gateway: str | None, policy: Path | None) -> httpx2.Client:
    import httpx2

    transport = None
    if gateway is not None:
        transport = _sealed(gateway, policy)
        base_url = "https://confide.invalid/v1"
    base_url, key = _destination(base_url)
    # Proxy settings of the environment are for the Internet, not for this machine.
    return httpx2.Client(
        transport=transport,
        base_url=base_url.rstrip("/") + "/",
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=httpx2.Timeout(600.0, connect=5.0),
        trust_env=False,
    )


def _destination(base_url: str | None) -> tuple[str, str | None]:
    """Base URL and key, both from the same place: a key meant for OpenAI goes nowhere else."""
    own = os.environ.get("CONFIDE_API_KEY")
    if chosen := base_url or os.environ.get("OPENAI_BASE_URL"):
        return chosen, own or os.environ.get("OPENAI_API_KEY")
    written = _client_env()
    if "OPENAI_BASE_URL" not in written:
        raise ConfigError("no proxy is known", hint=_START)
    return written["OPENAI_BASE_URL"], own or written.get("OPENAI_API_KEY")


def _sealed(gateway: str, policy: Path | None) -> httpx2.BaseTransport:
    from confide.attest.collateral import EndorsementCache
    from confide.attest.policy_file import read_policy
    from confide.attest.verifier import Verifier
    from confide.client.transport import EncryptedTransport
    from confide.config.sources import home_directory

    if policy is None:
        raise ConfigError("--gateway needs --policy: say which enclaves are good enough")
    now = datetime.now(tz=UTC)  # noqa: TID251 - the command line is where the wall clock enters
    cache = EndorsementCache(home_directory() / "endorsements")
    verifier = Verifier(read_policy(policy, at=now), endorsements=(cache,))
    return EncryptedTransport(gateway, verifier=verifier)


def _client_env() -> dict[str, str]:
    """Variables of client.env, which `confide up` writes."""
    from confide.config.sources import home_directory

    try:
        lines = (home_directory() / "client.env").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.removeprefix("export ").partition("=") for line in lines)
    return {name.strip(): "".join(shlex.split(value)) for name, equals, value in pairs if equals}


def _first_model(client: httpx2.Client) -> str:
    response = client.get("models")
    if response.status_code >= 400:
        _raise(response.content, response)
    models = response.json()["data"]
    if not models:
        raise ConfideError("no model is offered to this key")
    return str(models[0]["id"])


def _ask(client: httpx2.Client, model: str, text: str, as_json: bool) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    pieces: list[str] = []
    usage: object = None
    with client.stream("POST", "chat/completions", json=body) as response:
        if response.status_code >= 400:
            _raise(response.read(), response)
        for chunk in _chunks(response):
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices", ()):
                piece = choice.get("delta", {}).get("content") or ""
                pieces.append(piece)
                if piece and not as_json:
                    click.echo(printable(piece), nl=False)
        request_id = response.headers.get("confide-request-id")
    if as_json:
        answer = "".join(pieces)
        emit({"model": model, "answer": answer, "usage": usage, "request_id": request_id}, True)
    else:
        click.echo()


def _chunks(response: httpx2.Response) -> Iterator[Mapping[str, Any]]:
    """Chunks of a stream up to its end; a stream without an end is an error."""
    from confide.dialects.sse import EventParser

    parser = EventParser()
    count = 0
    for content in response.iter_bytes():
        for event in parser.feed(content):
            if event.data == "[DONE]":
                return
            chunk = json.loads(event.data)
            if chunk.get("error"):
                _raise(event.data.encode(), response)
            count += 1
            yield chunk
    raise StreamTruncated(count)


def _raise(body: bytes, response: httpx2.Response) -> NoReturn:
    """Raise what an error in OpenAI's shape says, as the class that has its exit code."""
    try:
        error = json.loads(body)["error"]
        message, kind, code = str(error["message"]), error.get("type"), str(error.get("code"))
    except (ValueError, KeyError, TypeError):
        raise ConfideError(
            f"{response.url.host} answered {response.status_code}, and not as OpenAI's API does",
            hint="is the base URL that of a confide proxy, with /v1 at its end?",
        ) from None
    if kind == "attestation_error":
        raise AttestationError(message, code=code)
    if kind == "connection_error":
        raise TransportError(message, code=code)
    if kind == "sealing_error":
        raise SealingError(message, code=code)
    if response.headers.get("x-confide-origin") == "gateway":
        raise GatewayError(message, status=response.status_code, code=code)
    raise EnclaveError(message, status=response.status_code, code=code)
