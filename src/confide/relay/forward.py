"""Carry requests to the gateway and its answers back, byte for byte.

The gateway is not trusted by the host application either: its answers appear under the
application's own origin. So only what the protocol knows comes through, by status and media
type: a sealed answer, the directory, an evidence envelope, a problem document. Anything else,
a page with a script for instance, is refused.

The hop itself is the gateway's own (`confide.gateway.relay`, `upstream`): back-pressure in both
directions, no redirect, no cookie, no second try.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from confide.errors import ConfigError, GatewayError, NoEnclaveAvailable, TransportError
from confide.gateway.addresses import enclave_url
from confide.gateway.relay import Message, Relay, Send, Upload
from confide.gateway.upstream import EnclaveUpstream, Headers
from confide.wire.media_types import CHUNKED_REQUEST, CHUNKED_RESPONSE, PROBLEM
from confide.wire.metadata import DOCUMENT_HEADER, RESPONSE_HEADERS

__all__ = ["Forwarder"]

_PASSED: Final = frozenset(
    name.encode() for name in RESPONSE_HEADERS - {"date", "transfer-encoding"}
)
_OWN: Final = ((b"x-content-type-options", b"nosniff"),)
_SEALED: Final = b"/v1/sealed"
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~%-]+)*")
_LOOK_UP_S: Final = 35.0  # the gateway gives an enclave 30 s to answer a challenge
_MAX_LOOK_UP: Final = 4 * 1024 * 1024  # what a client reads at most
_MAX_STREAMS: Final = 4096


class Forwarder:
    """The connections to one gateway. Use it in one event loop.

    Args:
        gateway: Base URL, http or https; it may have a path.
        api_key: The server's own credential.
        idle_s: An answer that makes no progress for so long is aborted.

    Raises:
        ConfigError: The URL or the key is not usable.
    """

    def __init__(self, gateway: str, api_key: str, *, idle_s: float) -> None:
        base, self._prefix = _split(gateway)
        if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise ConfigError(
                "the API key is empty or holds characters that no API key has",
                hint="copy it again, without line breaks or quotes",
            )
        self._authorization = b"Bearer " + api_key.encode("ascii")
        self._upstream = EnclaveUpstream(base, idle_s=idle_s, max_connections=_MAX_STREAMS)

    def close(self) -> None:
        """Abort every connection, in use or not."""
        self._upstream.close()

    async def sealed(self, upload: Upload, document: bytes | None, send: Send) -> Relay:
        """Carry one sealed request and its answer.

        Args:
            upload: The request's body.
            document: Value of `Confide-Document`, or None.
            send: As in ASGI.

        Returns:
            How it went.

        Raises:
            GatewayError: Nothing was answered: the gateway is not there, refuses the server's
                key, or answers something that is not of the protocol.
        """
        headers: Headers = (
            (b"authorization", self._authorization),
            (b"content-type", CHUNKED_REQUEST.encode()),
            (b"incremental", b"?1"),
            *(() if document is None else ((DOCUMENT_HEADER.encode(), document),)),
        )
        relay = Relay(upload, _checked(send), passed=_PASSED)
        with _explained():
            await relay.run(self._upstream, self._prefix + _SEALED, headers, _OWN)
        return relay

    async def look_up(self, target: bytes, media_type: str) -> Message:
        """Fetch one public document, without a credential.

        Args:
            target: Path and query below the gateway's URL.
            media_type: What it must be.

        Returns:
            `status`, `headers` and `body`.

        Raises:
            GatewayError: The gateway is not there, or answers something else.
        """
        with _explained():
            async with asyncio.timeout(_LOOK_UP_S):
                exchange = await self._upstream.open(
                    b"GET", self._prefix + target, (), b"", length=0
                )
                try:
                    await exchange.head()
                    body = await exchange.read(_MAX_LOOK_UP)
                finally:
                    exchange.close()
        _refuse_strange(exchange.status, dict(exchange.headers), media_type)
        kept = [pair for pair in exchange.headers if pair[0] in _PASSED - {b"content-length"}]
        length = (b"content-length", b"%d" % len(body))
        return {"status": exchange.status, "headers": [*kept, length, *_OWN], "body": body}


def _split(gateway: str) -> tuple[str, bytes]:
    """Split the gateway's URL into its base and the path below which it is served."""
    try:
        path = urlsplit(gateway).path.rstrip("/")
        base = gateway.rstrip("/").removesuffix(path) if path else gateway
        if _PATH.fullmatch(path):
            return enclave_url(base), path.encode("ascii")
    except (ConfigError, ValueError):
        pass
    raise ConfigError(
        "the gateway's URL must look like https://gateway.example.org",
        hint="a credential goes into api_key, not into the URL",
    )


def _checked(send: Send) -> Send:
    """Look at the head of an answer before it goes on."""

    async def check(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            _refuse_strange(message["status"], dict(message["headers"]), CHUNKED_RESPONSE)
        await send(message)

    return check


def _refuse_strange(status: int, headers: Mapping[bytes, bytes], expected: str) -> None:
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode()
    if status in (401, 403):
        # Of the server's own key: its users can do nothing about it and are not told more.
        raise GatewayError(
            "the gateway refuses this server's API key", status=502, code="relay-key-refused"
        )
    if (status == 200 and media_type == expected) or (status >= 400 and media_type == PROBLEM):
        return
    raise GatewayError(
        "the gateway answered something that is not of this protocol",
        status=502,
        code="gateway-unexpected",
    )


@contextmanager
def _explained() -> Iterator[None]:
    """Say "gateway" where the hop says "enclave"."""
    try:
        yield
    except NoEnclaveAvailable:
        raise NoEnclaveAvailable(
            "this server cannot reach its gateway; nothing was sent", code="gateway-unreachable"
        ) from None
    except (TransportError, TimeoutError):
        raise GatewayError(
            "the gateway went away before it answered; it may have begun",
            status=502,
            code="gateway-lost",
        ) from None
