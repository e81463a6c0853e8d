"""The gateway as one ASGI callable: routes, refusals and life cycle on one page.

Written by hand, without a framework: the hot path costs what it does and nothing else. Every
answer, refusals included, carries `confide-request-id`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from math import ceil
from typing import Any, Final, TypeVar

from confide.errors import (
    AuthenticationError,
    ConfideError,
    GatewayError,
    NoEnclaveAvailable,
    RateLimited,
    RouteNotFound,
)
from confide.gateway.admission import Admission
from confide.gateway.callers import Callers
from confide.gateway.collateral import COLLATERAL_PATH, CollateralRoute
from confide.gateway.directory import EVIDENCE_PATH, DirectoryRoutes
from confide.gateway.instruments import Instruments
from confide.gateway.ledger import Ledger
from confide.gateway.registry import Registry
from confide.gateway.relay import CallerGone, Message, Receive, Send, wait_until_gone
from confide.gateway.request_ids import request_id as new_request_id
from confide.gateway.sealed import Head, SealedRoute
from confide.gateway.tending import tend
from confide.telemetry.logs import event
from confide.telemetry.metrics import CONTENT_TYPE
from confide.wire.endpoints import ENDPOINTS_PATH
from confide.wire.media_types import COLLATERAL, DIRECTORY, EVIDENCE, PROBLEM
from confide.wire.metadata import REQUEST_ID_HEADER
from confide.wire.problems import problem_for

__all__ = ["LINE", "MAX_HEADERS", "GatewayApp", "Parts"]

_AnswerT = TypeVar("_AnswerT")

#: Longest outer header section, in bytes.
MAX_HEADERS: Final = 64 * 1024

#: ASGI extension under which the server shows the caller's connection (`relay.Line`).
LINE: Final = "confide.line"

_SEALED_PATH: Final = "/v1/sealed"
_KEYS_PATH: Final = "/.well-known/confide/keys"
_KEY_PATH: Final = "/v1/key"
_REQUEST_ID: Final = REQUEST_ID_HEADER.encode()
_FORWARDED: Final = (b"x-forwarded-for", b"forwarded")
_NO_STORE: Final = (b"cache-control", b"no-store")
_CALLERS_S: Final = 0.5  # a revoked key works no longer than this


@dataclass(frozen=True)
class Parts:
    """What the application is made of; wired by `confide.apps.gateway`."""

    sealed: SealedRoute
    directory: DirectoryRoutes
    collateral: CollateralRoute
    admission: Admission
    callers: Callers
    registry: Registry
    ledger: Ledger
    instruments: Instruments
    metrics_clients: frozenset[str]
    endpoints: bytes | None
    now: Callable[[], float]


class GatewayApp:
    """The ASGI application."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._following: asyncio.Task[None] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the life cycle."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    def unparsed(self, error: GatewayError) -> bytes:
        """Write the whole answer to a request that the server could not read."""
        request_id = new_request_id(self.parts.now)
        problem = problem_for(error, request_id=request_id)
        self.parts.instruments.refused(problem.code)
        content = problem.encode()
        return (
            b"HTTP/1.1 %d \r\ncontent-type: %b\r\ncontent-length: %d\r\n%b: %b\r\n"
            b"cache-control: no-store\r\nconnection: close\r\n\r\n%b"
        ) % (
            *(problem.status, PROBLEM.encode(), len(content)),
            *(_REQUEST_ID, request_id.encode(), content),
        )

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        request_id = new_request_id(self.parts.now)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        try:
            if sum(map(len, chain.from_iterable(headers))) > MAX_HEADERS:
                raise GatewayError("the headers are too long", status=431, code="headers-too-large")
            if scope["path"] == _SEALED_PATH:
                _only(scope, "POST")
                line = scope.get("extensions", {}).get(LINE, {}).get("line")
                await self.parts.sealed(headers, receive, send, request_id, line)
            else:
                kind, content = await _unless_gone(receive, self._look_up(scope, headers))
                await _answer(
                    send, 200, kind, content, [(_REQUEST_ID, request_id.encode()), _NO_STORE]
                )
        except ConfideError as error:
            await self._refuse(send, error, request_id)
        except CallerGone:
            pass

    async def _look_up(
        self, scope: Message, headers: list[tuple[bytes, bytes]]
    ) -> tuple[str, bytes]:
        path: str = scope["path"]
        parts = self.parts
        address = scope["client"][0] if scope.get("client") else ""
        if path == "/metrics" and not self._may_read_metrics(scope, address):
            raise RouteNotFound("there is no such route")
        if path == ENDPOINTS_PATH and parts.endpoints is not None:
            _only(scope, "GET")
            return "application/json", parts.endpoints
        if path not in _LOOK_UPS and not path.startswith(EVIDENCE_PATH):
            raise RouteNotFound("there is no such route")
        _only(scope, "GET")
        if path == _KEYS_PATH:
            return DIRECTORY, await parts.directory.keys()
        if path == COLLATERAL_PATH:
            return COLLATERAL, await parts.collateral.content(address)
        if path == _KEY_PATH:
            return "application/json", self._key(headers)
        if path == "/healthz":
            return "application/json", self._health()
        if path == "/metrics":
            return CONTENT_TYPE, await asyncio.to_thread(parts.instruments.render)
        query: bytes = scope.get("query_string", b"")
        return EVIDENCE, await parts.directory.evidence(path, query, address)

    def _may_read_metrics(self, scope: Message, address: str) -> bool:
        allowed = self.parts.metrics_clients
        if "*" in allowed:
            return True
        if any(name in _FORWARDED for name, _ in scope["headers"]):
            # A trusted proxy's word has replaced the address; any other proxy hides the caller.
            peer = scope.get("extensions", {}).get(LINE, {}).get("peer", scope.get("client"))
            if scope.get("client") == peer:
                return False
        return address in allowed

    def _key(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        parts = self.parts
        caller = parts.admission.recognise(Head.read(headers).authorization)
        principal = caller.principal
        return _json(
            {
                "key_id": principal.key_id,
                "domain": principal.domain,
                "models": list(principal.models),
                "operations": list(principal.operations),
                "usage": principal.usage,
                "expires_at": principal.expires_at,
                "limits": asdict(principal.limits),
                "remaining": {
                    "requests": parts.admission.remaining(caller),
                    "streams": max(0, principal.limits.max_streams - caller.limiter.streams),
                },
            }
        )

    def _health(self) -> bytes:
        parts = self.parts
        healthy = parts.registry.healthy
        status = "ok" if healthy else "no-enclave"
        if parts.ledger.full:
            status = "ledger-unavailable"
        return _json(
            {"status": status, "enclaves": healthy, "ledger_failing": parts.ledger.failing}
        )

    async def _refuse(self, send: Send, error: ConfideError, request_id: str) -> None:
        problem = problem_for(error, request_id=request_id)
        headers = [(_REQUEST_ID, request_id.encode()), _NO_STORE]
        if isinstance(error, RateLimited):
            headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
        elif isinstance(error, NoEnclaveAvailable):
            headers.append((b"retry-after", b"1"))
        elif isinstance(error, AuthenticationError):
            headers.append((b"www-authenticate", b'Bearer realm="confide"'))
        self.parts.instruments.refused(problem.code)
        await _answer(send, problem.status, PROBLEM, problem.encode(), headers)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        self.parts.ledger.start()
        self.parts.registry.start()
        failed = self.parts.instruments.failed
        self._following = asyncio.ensure_future(tend("accounts", self._follow, failed))

    async def _stop(self) -> None:
        async with AsyncExitStack() as steps:  # last one first; all run, whatever one raises
            steps.callback(self.parts.callers.close)
            # Rows of the streams that just ended are still in the queue.
            steps.push_async_callback(self._write_rows)
            steps.push_async_callback(self.parts.registry.stop)
            if self._following is not None:
                self._following.cancel()
                await asyncio.wait([self._following])

    async def _write_rows(self) -> None:
        lost = await asyncio.to_thread(self.parts.ledger.stop)
        event("gateway-stopped", dropped=lost)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_CALLERS_S)
            if self.parts.callers.refresh():
                event("accounts-reloaded", count=len(self.parts.callers))


_LOOK_UPS: Final = frozenset({_KEYS_PATH, _KEY_PATH, COLLATERAL_PATH, "/healthz", "/metrics"})


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, _AnswerT]) -> _AnswerT:
    """Finish the work, unless the caller closes its connection before."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(wait_until_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerGone
        return working.result()
    finally:
        watching.cancel()
        working.cancel()


def _only(scope: Message, method: str) -> None:
    if scope["method"] != method:
        raise GatewayError(f"this route answers {method}", status=405, code="method-not-allowed")


def _json(members: dict[str, object]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


async def _answer(
    send: Send, status: int, kind: str, content: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    own = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": content})
