"""The enclave's HTTP face on one page.

    POST /v1/sealed                                  the door
    GET  /.well-known/confide/keys                   directory with this one replica
    GET  /.well-known/confide/evidence/{document}    evidence for a client's nonce
    GET  /v1/usage   POST /v1/usage/ack              signed statements, for the gateway
    GET  /healthz    GET /metrics                    numbers, no content

The sealed route goes past the framework, because each of its chunks is counted in
microseconds. Everything this face says outside the seal is public.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from confide.enclave.grants import GrantVerifier
from confide.enclave.http_exchange import Message, Receive, Send
from confide.enclave.inference.router import Router
from confide.enclave.intake import Door
from confide.enclave.keyring import Keyring
from confide.enclave.metrics import EnclaveMetrics
from confide.enclave.quoting import NONCE_LENGTH, Quoting
from confide.enclave.usage_ledger import UsageLedger
from confide.errors import AttestationError, ConfideError, GatewayError
from confide.telemetry.logs import event
from confide.telemetry.metrics import CONTENT_TYPE
from confide.wire.directory import Directory, Replica
from confide.wire.media_types import DIRECTORY, EVIDENCE, PROBLEM, USAGE
from confide.wire.problems import Problem, problem_for
from confide.wire.usage import encode_batch

__all__ = ["EnclaveApp", "EnclaveParts"]

_SEALED_PATH: Final = "/v1/sealed"
_SIMULATED: Final = (b"x-confide-attestation", b"none-development")
_CLOCK_STEP_S: Final = 5.0
_MAX_ACK: Final = 1024
_NO_STORE: Final = {"cache-control": "no-store"}


@dataclass(frozen=True)
class EnclaveParts:
    """What the face needs; wired by `confide.apps.enclave`.

    Attributes:
        manifest: The manifest's bytes.
        platform: Name of the attestation platform, such as "sev-snp".
        simulated: The evidence proves nothing.
    """

    door: Door
    keyring: Keyring
    quoting: Quoting
    grants: GrantVerifier
    ledger: UsageLedger
    router: Router
    metrics: EnclaveMetrics
    manifest: bytes
    platform: str
    simulated: bool


class EnclaveApp:
    """The ASGI application.

    Args:
        parts: The wired parts.

    Attributes:
        startup_error: Why starting failed, if it did; the server only knows that it did.
    """

    def __init__(self, parts: EnclaveParts) -> None:
        self._parts = parts
        self._door = parts.door
        self.startup_error: ConfideError | None = None
        self._pages = Starlette(
            routes=[
                Route("/.well-known/confide/keys", self._keys),
                Route("/.well-known/confide/evidence/{document}", self._evidence),
                Route("/v1/usage", self._usage),
                Route("/v1/usage/ack", self._acknowledge, methods=["POST"]),
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
            ],
            exception_handlers={
                HTTPException: _http_problem,
                GatewayError: _refuse,
                AttestationError: _no_evidence,
            },
            lifespan=self._lifespan,
        )

    def prove(self) -> None:
        """Collect evidence about the first key document, before anything listens.

        It is the cached form that the application starts with. To be called once, outside
        of an event loop.

        Raises:
            AttestationError: The machine gave no evidence, or none that can be published.
        """
        asyncio.run(_collect(self._parts))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection event of ASGI."""
        if self._parts.simulated:
            send = _marked(send)
        if scope["type"] == "http" and scope["path"] == _SEALED_PATH and scope["method"] == "POST":
            await self._door(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        parts = self._parts
        try:
            await parts.router.start()
            # A platform that gives no evidence shall be seen now, not by the first client.
            await parts.quoting.cached(parts.keyring.current)
        except ConfideError as error:
            self.startup_error = error
            await parts.router.stop()
            raise
        clock = asyncio.ensure_future(self._keep_time())
        try:
            yield
        finally:
            clock.cancel()
            with suppress(asyncio.CancelledError):
                await clock
            await parts.router.stop()

    async def _keep_time(self) -> None:
        """Rotate and drop keys even when nobody asks for them."""
        while True:
            if self._parts.keyring.rotate_if_due():
                event("key-rotated", document_sha256=self._parts.keyring.current.sha256_hex)
            self._parts.quoting.forget_all_but(self._parts.keyring.live_documents)
            await asyncio.sleep(_CLOCK_STEP_S)

    async def _keys(self, _request: Request) -> Response:
        document = self._parts.keyring.current
        evidence = await self._parts.quoting.cached(document)
        replica = Replica(document.raw, evidence, self._parts.manifest)
        return Response(Directory((replica,)).encode(), media_type=DIRECTORY, headers=_NO_STORE)

    async def _evidence(self, request: Request) -> Response:
        nonce = _nonce(request.query_params.get("nonce", ""))
        document = self._parts.keyring.find_document(request.path_params["document"])
        if document is None:
            raise GatewayError("that key document is not live", status=404, code="document-unknown")
        evidence = await self._parts.quoting.challenged(document, nonce)
        return Response(evidence, media_type=EVIDENCE, headers=_NO_STORE)

    async def _usage(self, request: Request) -> Response:
        self._parts.grants.verify_usage_pull(request.headers.get("authorization", ""))
        after = request.query_params.get("after", "0")
        if not _is_sequence(after):
            raise GatewayError("after must be a number", status=400, code="usage-after")
        batch = encode_batch(self._parts.ledger.after(int(after)))
        return Response(batch, media_type=USAGE, headers=_NO_STORE)

    async def _acknowledge(self, request: Request) -> Response:
        self._parts.grants.verify_usage_pull(request.headers.get("authorization", ""))
        through = await _through(request)
        dropped = self._parts.ledger.acknowledge(through)
        return JSONResponse({"dropped": dropped}, headers=_NO_STORE)

    async def _health(self, _request: Request) -> Response:
        parts = self._parts
        offered = [model.id for model in parts.router.models()]
        available = sum(parts.router.available(name) for name in offered)
        return JSONResponse(
            {
                "status": "ok" if available else "degraded",
                "models": len(offered),
                "available": available,
                "open_requests": parts.metrics.open_requests,
                "platform": parts.platform,
                "simulated": parts.simulated,
            },
            headers=_NO_STORE,
        )

    async def _metrics(self, _request: Request) -> Response:
        text = await asyncio.to_thread(self._parts.metrics.registry.render)
        return Response(text, headers={"content-type": CONTENT_TYPE})


def _marked(send: Send) -> Send:
    """Say on every answer that no processor stands behind it (attestation.md section 6.7)."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), _SIMULATED]
        await send(message)

    return marked


async def _collect(parts: EnclaveParts) -> None:
    await parts.quoting.cached(parts.keyring.current)


def _nonce(text: str) -> bytes:
    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        nonce = b""
    if len(nonce) != NONCE_LENGTH or len(text) != 2 * NONCE_LENGTH:
        raise GatewayError("nonce must be 32 bytes in hex", status=400, code="nonce-invalid")
    return nonce


def _is_sequence(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


async def _through(request: Request) -> int:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_ACK:
            raise GatewayError("the body is too long", status=413, code="request-too-large")
    try:
        through = json.loads(bytes(body))["through"]
    except (ValueError, KeyError, TypeError, RecursionError):
        through = None
    if type(through) is not int or through < 0:
        raise GatewayError("through must be a number", status=400, code="usage-through")
    return through


def _problem(problem: Problem) -> Response:
    headers = dict(_NO_STORE)
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(problem.retry_after_s)))
    return Response(problem.encode(), problem.status, headers, media_type=PROBLEM)


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ConfideError):
        raise error
    return _problem(problem_for(error))


async def _no_evidence(_request: Request, _error: Exception) -> Response:
    return _problem(Problem.of("evidence-unavailable", 503, retry_after_s=5))


async def _http_problem(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "route-not-found", 405: "method-not-allowed"}.get(status, "http")
    return _problem(Problem.of(code, status))
