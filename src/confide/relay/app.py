"""The relay as an ASGI application, to be mounted in another one.

    app.mount("/confide", Relay(gateway="https://gateway.example.org", api_key=key,
                                authorize=signed_in))

Routes, below the mount: `POST /v1/sealed`, `GET /.well-known/confide/keys` and
`GET /.well-known/confide/evidence/{sha256}?nonce={hex}`. The last two are public at the gateway
and need no permission here; challenges are limited per address, because the gateway counts
all of them for this server's address.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from math import ceil
from typing import Final

from confide.errors import (
    AuthenticationError,
    ConfideError,
    GatewayError,
    RateLimited,
    RouteNotFound,
)
from confide.gateway.limits import AddressLimiter
from confide.gateway.relay import CallerGone, Message, Receive, Send, Upload
from confide.relay.admission import Authorize, Head, admit, route_path
from confide.relay.forward import Forwarder
from confide.telemetry.logs import event
from confide.wire.media_types import DIRECTORY, EVIDENCE, PROBLEM
from confide.wire.problems import problem_for

__all__ = ["Relay"]

_SEALED: Final = "/v1/sealed"
_KEYS: Final = "/.well-known/confide/keys"
_EVIDENCE: Final = re.compile(r"/\.well-known/confide/evidence/[0-9a-f]{64}")
_NONCE: Final = re.compile(rb"nonce=[0-9A-Fa-f]{64}")
_UPLOAD_IDLE_S: Final = 30.0
_ANSWER_IDLE_S: Final = 600.0
_DEFAULT_MAX: Final = 36 * 1024**2


class Relay:
    """Hands sealed requests on to a gateway with the server's API key. Cannot open them.

    Args:
        gateway: Base URL of the gateway.
        api_key: The server's key at the gateway. Users' own credentials never go there.
        authorize: Decides who may use the relay, see `Authorize`; `anyone` if something in
            front of the relay has decided.
        max_bytes: Longest sealed request.
        challenges_per_minute: Evidence challenges of one client address.
        monotonic: Seconds.

    Raises:
        ConfigError: The URL or the key is not usable.
    """

    def __init__(
        self,
        gateway: str,
        *,
        api_key: str,
        authorize: Authorize,
        max_bytes: int = _DEFAULT_MAX,
        challenges_per_minute: int = 30,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forwarder = Forwarder(gateway, api_key, idle_s=_ANSWER_IDLE_S)
        self._authorize = authorize
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._challenges = AddressLimiter(challenges_per_minute, 20 * challenges_per_minute)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the life cycle."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                await self._serve(scope, receive, send)
            except ConfideError as error:
                await _refuse(send, error)
            except CallerGone:
                pass
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    def close(self) -> None:
        """Abort every connection to the gateway. A mounted application is not told of the end."""
        self._forwarder.close()

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        path = route_path(scope)
        if path == _SEALED:
            _only(scope, "POST")
            await self._sealed(scope, receive, send)
        elif path == _KEYS:
            _only(scope, "GET")
            await _answer(send, await self._forwarder.look_up(path.encode(), DIRECTORY))
        elif _EVIDENCE.fullmatch(path):
            _only(scope, "GET")
            await _answer(send, await self._evidence(scope, path))
        else:
            raise RouteNotFound("there is no such route")

    async def _sealed(self, scope: Message, receive: Receive, send: Send) -> None:
        await admit(self._authorize, scope)
        head = Head.read(scope["headers"], max_bytes=self._max_bytes)
        upload = Upload(
            receive, length=head.length, max_bytes=self._max_bytes, idle_s=_UPLOAD_IDLE_S
        )
        relay = await self._forwarder.sealed(upload, head.document, send)
        event(
            "relayed",
            bytes_up=upload.count,
            bytes_down=relay.bytes_down,
            status=relay.status,
            outcome=relay.outcome,
        )

    async def _evidence(self, scope: Message, path: str) -> Message:
        query: bytes = scope.get("query_string", b"")
        if not _NONCE.fullmatch(query):
            raise GatewayError("the nonce is 32 bytes in hexadecimal", status=400, code="bad-nonce")
        address = scope["client"][0] if scope.get("client") else ""
        denied = self._challenges.admit(address, self._monotonic())
        if denied is not None:
            raise RateLimited("too many evidence challenges", retry_after=denied.retry_after_s)
        return await self._forwarder.look_up(path.encode() + b"?" + query, EVIDENCE)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})


def _only(scope: Message, method: str) -> None:
    if scope["method"] != method:
        raise GatewayError(f"this route answers {method}", status=405, code="method-not-allowed")


async def _answer(send: Send, answer: Message) -> None:
    head = {"status": answer["status"], "headers": answer["headers"]}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": answer["body"]})


async def _refuse(send: Send, error: ConfideError) -> None:
    problem = problem_for(error)
    content = problem.encode()
    headers = [
        (b"content-type", PROBLEM.encode()),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if isinstance(error, RateLimited):
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    elif isinstance(error, AuthenticationError):
        headers.append((b"www-authenticate", b'Bearer realm="confide relay"'))
    event("refused", code=problem.code, status=problem.status)
    await _answer(send, {"status": problem.status, "headers": headers, "body": content})
