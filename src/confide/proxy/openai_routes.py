"""OpenAI's routes: the body in, sealed; the answer out, byte for byte.

Nothing is parsed. A malformed body is the enclave's to refuse, inside the seal. Answers
that stream are passed on piece by piece; other answers are sent when their authenticated
end was seen, so that a cut one becomes an error and not half a document.

A stream that is cut off ends with an error event and then with a broken connection: no
`[DONE]`, no regular end, nothing a client could take for one. A caller that goes away
ends the request to the gateway at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final, NamedTuple

import httpx2
from starlette.types import Receive, Scope, Send

from confide.client.transport import AsyncEncryptedTransport
from confide.dialects.error_bodies import openai_error_event
from confide.errors import ConfideError, RequestTooLarge
from confide.proxy.answers import send_body, send_error
from confide.telemetry.logs import enabled, event

__all__ = ["DEFAULT_BODY_LIMIT", "SealedRoute"]

DEFAULT_BODY_LIMIT: Final = 32 * 1024 * 1024
# Names for the log; a path holds whatever a client put into it.
_ROUTES: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
_INNER: Final = "https://confide.invalid"
_KEPT: Final = frozenset({b"content-type", b"accept", b"authorization"})


class _CallerGoneError(Exception):
    """The caller closed the connection before its request was complete."""


class _Ending(NamedTuple):
    """How one request ended, for the log."""

    outcome: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None


class SealedRoute:
    """An ASGI endpoint that seals what it is asked and sends it on.

    Args:
        transport: Seals and sends.
        body_limit: Bytes of request body accepted.
    """

    def __init__(
        self, transport: AsyncEncryptedTransport, *, body_limit: int = DEFAULT_BODY_LIMIT
    ) -> None:
        self._transport = transport
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            body = await self._body(scope["headers"], receive)
        except RequestTooLarge as error:
            await send_error(send, error)
            return
        except _CallerGoneError:
            return
        started = time.monotonic()
        relay = asyncio.create_task(self._relay(_request(scope, body), send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((relay, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not relay.done():
                relay.cancel()
        await asyncio.gather(relay, return_exceptions=relay.cancelling() > 0)
        if enabled("info"):
            _log(
                relay, route=_ROUTES.get(scope["path"], "models"), bytes_up=len(body), since=started
            )

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

    async def _relay(self, request: httpx2.Request, send: Send) -> _Ending:
        try:
            response = await self._transport.handle_async_request(request)
        except ConfideError as error:
            await send_error(send, error)
            return _Ending("failed", code=error.code)
        send_on = _send_stream if _streams(response) else _send_whole
        try:
            failure = await send_on(response, send)
        finally:
            await response.aclose()
        request_id = response.headers.get("confide-request-id")
        if failure is not None:
            return _Ending("failed", response.status_code, failure.code, request_id)
        return _Ending("complete", response.status_code, None, request_id)


def _request(scope: Scope, body: bytes) -> httpx2.Request:
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    headers = [(name, value) for name, value in scope["headers"] if name in _KEPT]
    url = _INNER + target.decode("latin-1")
    return httpx2.Request(scope["method"], url, headers=headers, content=body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _streams(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


def _headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    return [(n.lower(), v) for n, v in response.headers.raw if n.lower() != b"content-length"]


def _pieces(response: httpx2.Response) -> AsyncIterator[bytes]:
    # The stream itself and not `aiter_bytes`: a content coding is the caller's to undo.
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - httpx2's contract
    return aiter(response.stream)


async def _send_whole(response: httpx2.Response, send: Send) -> ConfideError | None:
    try:
        body = b"".join([piece async for piece in _pieces(response)])
    except ConfideError as error:
        await send_error(send, error)
        return error
    await send_body(send, response.status_code, _headers(response), body)
    return None


async def _send_stream(response: httpx2.Response, send: Send) -> ConfideError | None:
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": _headers(response),
        }
    )
    tail = b"\n\n"
    try:
        async for piece in _pieces(response):
            tail = (tail + piece)[-2:]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except ConfideError as error:
        # Inside an event nothing is added: its missing half could turn into something else.
        last = openai_error_event(error) if tail == b"\n\n" else b""
        await send({"type": "http.response.body", "body": last, "more_body": True})
        # Returning without the last message makes the server break the connection.
        return error
    await send({"type": "http.response.body", "body": b""})
    return None


def _log(relay: asyncio.Task[_Ending], *, route: str, bytes_up: int, since: float) -> None:
    ending = _Ending("cancelled") if relay.cancelled() else relay.result()
    event(
        "answered",
        route=route,
        bytes_up=bytes_up,
        duration_ms=round((time.monotonic() - since) * 1000),
        **ending._asdict(),
    )
