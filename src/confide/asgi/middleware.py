"""Open one sealed client with an application, hand it to handlers, close it at the end.

Plain ASGI: it wraps the application's life cycle and its requests, and holds nothing back, so
streams pass as they come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from starlette.requests import HTTPConnection

from confide.asgi.problems import retry_after, user_problem
from confide.client.api import AsyncClient
from confide.errors import ConfideError, ConfigError, GatewayError, TransportError
from confide.telemetry.logs import event
from confide.wire.media_types import PROBLEM

__all__ = ["ConfideMiddleware", "sealed_client"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_KEY: Final = "confide.client"


def sealed_client(connection: HTTPConnection) -> AsyncClient:
    """The application's client: call it with a request, or use it as a FastAPI dependency.

    Raises:
        ConfigError: `ConfideMiddleware` is not there, or the server runs no life cycle.
    """
    client = connection.scope.get(_KEY)
    if not isinstance(client, AsyncClient):
        raise ConfigError(
            "no sealed client: the application has no ConfideMiddleware, or its start was skipped",
            hint="add the middleware; with uvicorn use --lifespan on, in tests enter TestClient",
        )
    return client


class ConfideMiddleware:
    """ASGI middleware that owns one `AsyncClient`.

    At start it verifies the enclaves. If none is accepted, or the settings are not usable, the
    application does not start. A gateway that is merely away does not stop it: handlers get a
    503 until it is back, and nothing is sent before a verification succeeded.

    An error of ours that a handler lets go becomes a problem document; after the answer began
    it is passed on, so that the server cuts the connection and nothing short looks whole.

    Args:
        app: The application.
        connect: Makes the client; called once, in the event loop, when the application starts.
    """

    def __init__(self, app: App, *, connect: Callable[[], AsyncClient]) -> None:
        self._app = app
        self._connect = connect
        self._client: AsyncClient | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection, or the life cycle."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if self._client is not None:
            scope[_KEY] = self._client
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ConfideError as error:
            event("refused", level="warning", code=error.code, outcome="cut" if begun else None)
            if begun:
                raise
            await _refuse(send, error)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        first = await receive()
        try:
            self._client = self._connect()
            await _verify(self._client)
        except ConfideError as error:
            await self._close()
            hint = f" ({error.hint})" if error.hint else ""
            await send({"type": "lifespan.startup.failed", "message": f"confide: {error}{hint}"})
            return
        inner = _Inner(first, receive, send, self._close)
        failure: Exception | None = None
        try:
            await self._app(scope, inner.receive, inner.send)
        except Exception as error:  # noqa: BLE001 - raised again unless nothing was answered
            failure = error
        if not inner.answered:
            await inner.stand_in()  # as servers do when an application has no life cycle
            return
        await self._close()
        if failure is not None:
            raise failure

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class _Inner:
    """The life cycle as the application inside sees it."""

    def __init__(
        self, first: Message, receive: Receive, send: Send, close: Callable[[], Awaitable[None]]
    ) -> None:
        self._first: Message | None = first
        self._receive, self._send, self._close = receive, send, close
        self.answered = False

    async def receive(self) -> Message:
        first, self._first = self._first, None
        return await self._receive() if first is None else first

    async def send(self, message: Message) -> None:
        self.answered = True
        if message["type"] != "lifespan.startup.complete":
            await self._close()  # before the server stops the loop
        await self._send(message)

    async def stand_in(self) -> None:
        """Answer for an application that has no life cycle of its own."""
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self.send({"type": "lifespan.shutdown.complete"})


async def _verify(client: AsyncClient) -> None:
    try:
        verdicts = await client.verify()
    except (TransportError, GatewayError) as error:  # the first request tries again
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


async def _refuse(send: Send, error: ConfideError) -> None:
    problem = user_problem(error)
    content = problem.encode()
    headers = [
        (b"content-type", PROBLEM.encode()),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
    ]
    wait = retry_after(error)
    if wait is not None:
        headers.append((b"retry-after", b"%d" % wait))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
