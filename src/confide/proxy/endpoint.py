"""One request to the proxy: read it, have it answered, stop when its caller goes away.

What is asked and how the answer looks is a subclass's business, see `openai_routes` and
`anthropic_routes`.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from typing import ClassVar, Final, NamedTuple

import httpx2
from starlette.types import Receive, Scope, Send

from confide.client.transport import AsyncEncryptedTransport
from confide.errors import RequestTooLarge
from confide.proxy.answers import Dialect, send_error
from confide.telemetry.logs import enabled, event
from confide.wire.inner_headers import travels

__all__ = [
    "DEFAULT_BODY_LIMIT",
    "INNER",
    "Ending",
    "SealedEndpoint",
    "goes_on",
    "pieces_of",
    "streams",
]

DEFAULT_BODY_LIMIT: Final = 32 * 1024 * 1024
INNER: Final = "https://confide.invalid"


class _CallerGoneError(Exception):
    """The caller closed the connection before its request was complete."""


class Ending(NamedTuple):
    """How one request ended, for the log."""

    outcome: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None


class SealedEndpoint(ABC):
    """An ASGI endpoint that seals what it is asked and sends it on.

    Args:
        transport: Seals and sends.
        body_limit: Bytes of request body accepted.
    """

    dialect: ClassVar[Dialect] = "openai"

    def __init__(
        self, transport: AsyncEncryptedTransport, *, body_limit: int = DEFAULT_BODY_LIMIT
    ) -> None:
        self._transport = transport
        self._limit = body_limit

    @abstractmethod
    async def relay(self, scope: Scope, body: bytes, send: Send) -> Ending:
        """Answer one request whose body is here; cancelled when the caller goes away."""

    @abstractmethod
    def route_name(self, scope: Scope) -> str:
        """Name of the route for the log; a path holds whatever a client put into it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await self._body(scope["headers"], receive)
        except RequestTooLarge as error:
            await send_error(send, error, self.dialect)
            return
        except _CallerGoneError:
            return
        started = time.monotonic()
        relay = asyncio.create_task(self.relay(scope, body, send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((relay, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not relay.done():
                relay.cancel()
        await asyncio.gather(relay, return_exceptions=relay.cancelling() > 0)
        if enabled("info"):
            _log(relay, route=self.route_name(scope), bytes_up=len(body), since=started)

    async def _body(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes:
        declared = next((value for name, value in headers if name == b"content-length"), b"0")
        pieces: list[bytes] = []
        length = int(declared) if declared.isdigit() else 0
        received = 0
        while True:
            # The declared length is checked before anything is kept, the real one as it comes.
            if max(length, received) > self._limit:
                raise RequestTooLarge(f"the request body is longer than {self._limit} bytes")
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _CallerGoneError
            piece = message.get("body", b"")
            received += len(piece)
            pieces.append(piece)
            if not message.get("more_body", False) and received <= self._limit:
                return b"".join(pieces)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def goes_on(name: bytes) -> bool:
    """Whether a caller's header is for the transport: to be sealed, or as the credential.

    Args:
        name: In lower case.
    """
    # What `connection` names must be known where the others are chosen.
    return name in (b"authorization", b"connection") or travels(name.decode("latin-1"))


def streams(response: httpx2.Response) -> bool:
    """Whether an answer is a stream of events."""
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


def pieces_of(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes, and not `aiter_bytes`: a content coding is the caller's to undo."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - httpx2's contract
    return aiter(response.stream)


def _log(relay: asyncio.Task[Ending], *, route: str, bytes_up: int, since: float) -> None:
    ending = Ending("cancelled") if relay.cancelled() else relay.result()
    event(
        "answered",
        route=route,
        bytes_up=bytes_up,
        duration_ms=round((time.monotonic() - since) * 1000),
        **ending._asdict(),
    )
