"""The proxy on one screen: which routes there are, and what happens at start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from confide.attest.factors import Factor
from confide.client.transport import AsyncEncryptedTransport
from confide.errors import AttestationError, ConfideError, GatewayError, RouteNotFound
from confide.proxy.answers import Dialect, error_answer
from confide.proxy.anthropic_routes import (
    PING_EVERY_S,
    CountTokensRoute,
    MessagesRoute,
    ModelsRoute,
)
from confide.proxy.compat import ByDialect, Compat, Prefixed, dialect_of
from confide.proxy.local_guard import LocalGuard
from confide.proxy.openai_routes import DEFAULT_BODY_LIMIT, SealedRoute
from confide.proxy.page import LocalPage
from confide.telemetry.logs import event

__all__ = ["build_app"]

_MODELS = "/v1/models"
_MODEL = "/v1/models/{model:path}"
# Parts of both APIs that are not built: saying so is more use than "no such route".
_NOT_BUILT: Final[Mapping[Dialect, tuple[str, ...]]] = {
    "openai": (
        *("assistants", "audio/speech", "batches", "containers", "conversations", "evals", "files"),
        *("fine_tuning", "images", "moderations", "realtime", "threads", "uploads"),
        *("vector_stores", "videos"),
    ),
    "anthropic": ("files", "messages/batches", "complete"),
}
_OFFERED: Final[Mapping[Dialect, str]] = {
    "openai": "it seals chat completions, responses, completions, embeddings, audio "
    "transcriptions and translations, and models",
    "anthropic": "it seals messages, count_tokens and models",
}


def build_app(
    transport: AsyncEncryptedTransport,
    *,
    port: int,
    body_limit: int = DEFAULT_BODY_LIMIT,
    hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    compat: Compat = "openai",
    ping_every_s: float = PING_EVERY_S,
) -> ASGIApp:
    """Put the proxy together. It owns the transport and closes it at the end.

    Args:
        transport: Seals and sends.
        port: Port it will listen on; the guard compares it.
        body_limit: Bytes of request body accepted.
        hosts: See `LocalGuard`.
        origins: See `LocalGuard`.
        compat: Which dialects are spoken where, see `confide.proxy.compat`.
        ping_every_s: Silence after which a streamed Anthropic message carries a ping.
    """
    page = LocalPage(transport, compat)

    async def front(request: Request) -> Response:
        if page.wanted(request):
            return page.html()
        verdicts = transport.verdicts
        simulated = any(verdict.simulated for verdict in verdicts) if verdicts else None
        return JSONResponse({"status": "ok", "verified": bool(verdicts), "simulated": simulated})

    refuse = _no_such_route(compat)
    app = Starlette(
        routes=[
            Route("/", front, methods=["GET"]),
            *page.routes(),
            *_routes(transport, body_limit, compat, ping_every_s),
        ],
        exception_handlers={404: refuse, 405: refuse, Exception: _defect(compat)},
        lifespan=lambda _: _running(transport),
    )
    app.router.redirect_slashes = False
    dialect = partial(dialect_of, compat=compat)
    return LocalGuard(app, port=port, hosts=hosts, origins=origins, dialect=dialect)


def _routes(
    transport: AsyncEncryptedTransport, body_limit: int, compat: Compat, ping_every_s: float
) -> list[Route]:
    sealed = SealedRoute(transport, body_limit=body_limit)
    models = ModelsRoute(transport, body_limit=body_limit)
    openai = [
        Route("/v1/chat/completions", sealed, methods=["POST"]),
        Route("/v1/completions", sealed, methods=["POST"]),
        Route("/v1/embeddings", sealed, methods=["POST"]),
        Route("/v1/responses", sealed, methods=["POST"]),
        # The enclave says about an earlier response that nothing is stored.
        Route("/v1/responses/{rest:path}", sealed, methods=["GET", "POST", "DELETE"]),
        Route("/v1/audio/transcriptions", sealed, methods=["POST"]),
        Route("/v1/audio/translations", sealed, methods=["POST"]),
    ]
    anthropic = [
        Route(
            "/v1/messages",
            MessagesRoute(transport, body_limit=body_limit, ping_every_s=ping_every_s),
            methods=["POST"],
        ),
        Route(
            "/v1/messages/count_tokens",
            CountTokensRoute(transport, body_limit=body_limit),
            methods=["POST"],
        ),
    ]
    if compat == "auto":
        either = ByDialect({"openai": sealed, "anthropic": models}, compat)
        return [*openai, *anthropic, *_listing(either)]
    openai += _listing(sealed)
    anthropic += _listing(models)
    if compat == "both":
        return [*_under("/openai", openai), *_under("/anthropic", anthropic)]
    return openai if compat == "openai" else anthropic


def _listing(endpoint: ASGIApp) -> list[Route]:
    return [Route(path, endpoint, methods=["GET"]) for path in (_MODELS, _MODEL)]


def _under(prefix: str, routes: list[Route]) -> list[Route]:
    return [
        Route(
            prefix + route.path,
            Prefixed(route.endpoint, prefix),
            methods=sorted(route.methods or ()),
        )
        for route in routes
    ]


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
        if isinstance(error, AttestationError):
            _log_factors(error.factors)
        return
    for verdict in verdicts:
        event(
            "verification",
            outcome="verified",
            platform=verdict.platform,
            simulated=verdict.simulated,
            document_sha256=verdict.document_sha256.hex(),
        )
        _log_factors(verdict.factors)


def _log_factors(factors: Iterable[Factor]) -> None:
    """Log the table that `confide verify` prints, one line per factor, without its sentences."""
    for factor in factors:
        event(
            "factor",
            factor=factor.name.replace(" ", "-"),
            outcome=str(factor.outcome),
            enforced=factor.enforced,
            owner=factor.owner.replace(" ", "-"),
        )


def _no_such_route(compat: Compat) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refuse(request: Request, reason: Exception) -> Response:
        dialect = dialect_of(request.scope, compat)
        inner = request.url.path.removeprefix(f"/{dialect}")
        if any(_within(inner, f"/v1/{part}") for part in _NOT_BUILT[dialect]):
            error: GatewayError = GatewayError(
                "this part of the API is not offered yet", status=501, code="not-implemented"
            )
        else:
            error = RouteNotFound(
                "this proxy has no such route, or not with this method",
                status=reason.status_code if isinstance(reason, HTTPException) else 404,
                hint=_OFFERED[dialect],
            )
        # The path is not repeated: whatever a client put into it belongs into no log.
        answer = error_answer(error, dialect)
        return Response(answer.body, answer.status, headers=dict(answer.headers))

    return refuse


def _defect(compat: Compat) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def tell(request: Request, _: Exception) -> Response:
        # Nothing of the exception is told: it may quote what was asked.
        error = GatewayError("the proxy has a defect", status=500, code="proxy-defect")
        answer = error_answer(error, dialect_of(request.scope, compat))
        return Response(answer.body, answer.status, headers=dict(answer.headers))

    return tell


def _within(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}/")
