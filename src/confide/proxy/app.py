"""The proxy on one screen: which routes there are, and what happens at start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from confide.client.transport import AsyncEncryptedTransport
from confide.dialects.error_bodies import openai_error
from confide.errors import ConfideError, RouteNotFound
from confide.proxy.local_guard import LocalGuard
from confide.proxy.openai_routes import DEFAULT_BODY_LIMIT, SealedRoute
from confide.telemetry.logs import event

__all__ = ["build_app"]


def build_app(
    transport: AsyncEncryptedTransport,
    *,
    port: int,
    body_limit: int = DEFAULT_BODY_LIMIT,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
) -> ASGIApp:
    """Put the proxy together. It owns the transport and closes it at the end.

    Args:
        transport: Seals and sends.
        port: Port it will listen on; the guard compares it.
        body_limit: Bytes of request body accepted.
        hosts: See `LocalGuard`.
        origins: See `LocalGuard`.
    """
    sealed = SealedRoute(transport, body_limit=body_limit)

    async def liveness(_: Request) -> Response:
        verdicts = transport.verdicts
        simulated = any(verdict.simulated for verdict in verdicts) if verdicts else None
        return JSONResponse({"status": "ok", "verified": bool(verdicts), "simulated": simulated})

    app = Starlette(
        routes=[
            Route("/", liveness, methods=["GET"]),
            Route("/v1/chat/completions", sealed, methods=["POST"]),
            Route("/v1/completions", sealed, methods=["POST"]),
            Route("/v1/embeddings", sealed, methods=["POST"]),
            Route("/v1/models", sealed, methods=["GET"]),
            Route("/v1/models/{model:path}", sealed, methods=["GET"]),
        ],
        exception_handlers={404: _no_such_route, 405: _no_such_route},
        lifespan=lambda _: _running(transport),
    )
    app.router.redirect_slashes = False
    return LocalGuard(app, port=port, hosts=hosts, origins=origins)


def _running(transport: AsyncEncryptedTransport) -> AbstractAsyncContextManager[None]:
    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        # The first request should not have to wait for the first verification.
        first = asyncio.create_task(_verify(transport))
        yield
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await transport.aclose()

    return running()


async def _verify(transport: AsyncEncryptedTransport) -> None:
    try:
        verdicts = await transport.verify()
    except ConfideError as error:  # not fatal: the first request tries again and reports it
        event("verification", level="warning", outcome="failed", code=error.code)
        return
    for verdict in verdicts:
        event(
            "verification",
            outcome="verified",
            platform=verdict.platform,
            simulated=verdict.simulated,
            document_sha256=verdict.document_sha256.hex(),
        )


async def _no_such_route(_: Request, reason: Exception) -> Response:
    error = RouteNotFound(
        "this proxy has no such route, or not with this method",
        status=reason.status_code if isinstance(reason, HTTPException) else 404,
        hint="it seals chat completions, completions, embeddings and models",
    )
    # The path is not repeated: whatever a client put into it belongs into no log.
    answer = openai_error(error, origin="proxy")
    return Response(answer.body, answer.status, headers=dict(answer.headers))
