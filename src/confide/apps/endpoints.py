"""Look up where gateway and enclave are, once, and notice if that changes.

    GET <endpoints_url>/.well-known/confide/endpoints.json     (`confide.wire.endpoints`)

The answer of the first time is kept in the data directory (`client/endpoints/`), one file per
URL. A later answer that differs is refused: whoever controls that web server shall not be able
to move users to other machines unnoticed. If the server is not there, the kept answer is used.
The document is a convenience; what an enclave must prove is the policy's business.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import tempfile
from pathlib import Path
from typing import Final

import httpx2

from confide.config.proxy import ProxySettings
from confide.errors import ConfigError, TransportError
from confide.telemetry.logs import event
from confide.wire.endpoints import ENDPOINTS_PATH, MAX_DOCUMENT, Endpoints
from confide.wire.strict_json import MalformedJSON

__all__ = ["look_up"]

_TIMEOUT_S: Final = 5.0


def look_up(
    settings: ProxySettings, home: Path, *, transport: httpx2.BaseTransport | None = None
) -> ProxySettings:
    """Return settings with the gateway's URL, from the endpoints document if it is configured.

    Nothing is fetched unless `endpoints_url` is set.

    Args:
        settings: The settings.
        home: Data directory.
        transport: Connects to the web server. Default: httpx2's own.

    Raises:
        ConfigError: The document is malformed, or differs from the one that was pinned.
        TransportError: There is no document and none was pinned.
    """
    if settings.endpoints_url is None:
        return settings
    url = _document_url(settings.endpoints_url)
    pin = home / "client" / "endpoints" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
    try:
        found = _fetch(url, transport)
    except TransportError:
        if not pin.exists():
            raise
        event("endpoints", level="warning", outcome="pinned-copy-used")
        found = _read(pin)
    else:
        _compare(found, pin, url)
    return settings.model_copy(update={**vars(found), "endpoints_url": None})


def _document_url(base: str) -> str:
    try:
        url = httpx2.URL(base.rstrip("/"))
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.userinfo or url.query or not (url.scheme == "https" or _on_this_machine(url)):
        raise ConfigError(
            "endpoints_url must be an https URL; http only for this machine",
            hint="such as https://confide.example.org",
        )
    return str(url).removesuffix(ENDPOINTS_PATH) + ENDPOINTS_PATH


def _on_this_machine(url: httpx2.URL) -> bool:
    if url.scheme != "http":
        return False
    try:
        return url.host == "localhost" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def _fetch(url: str, transport: httpx2.BaseTransport | None) -> Endpoints:
    content = b""
    try:
        with (
            httpx2.Client(transport=transport, timeout=_TIMEOUT_S) as client,
            client.stream("GET", url, headers={"accept": "application/json"}) as answer,
        ):
            status = answer.status_code
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MAX_DOCUMENT:
                    break
    except httpx2.HTTPError as error:
        raise TransportError(f"no endpoints document from {url}") from error
    if status != 200:
        raise TransportError(f"no endpoints document from {url}: it answered {status}")
    return _parse(content, url)


def _parse(content: bytes, where: str) -> Endpoints:
    try:
        return Endpoints.parse(content)
    except MalformedJSON as error:
        raise ConfigError(f"the endpoints document {where} is not usable: {error}") from error


def _read(pin: Path) -> Endpoints:
    try:
        return _parse(pin.read_bytes(), str(pin))
    except OSError as error:
        raise ConfigError(f"cannot read {pin}: {error.strerror}") from error


def _compare(found: Endpoints, pin: Path, url: str) -> None:
    if not pin.exists():
        _write(pin, found.encode() + b"\n")
        event("endpoints", outcome="pinned")
    elif _read(pin) != found:
        raise ConfigError(
            f"{url} names other endpoints than when it was first used",
            code="endpoints-changed",
            hint=f"ask the operator why; if that is right, delete {pin} and start again",
        )


def _write(path: Path, content: bytes) -> None:
    scratch = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(scratch, path)
    except OSError as error:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
