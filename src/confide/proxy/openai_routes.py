"""OpenAI's routes: the body in, sealed; the answer out, byte for byte.

Nothing is parsed. A malformed body is the enclave's to refuse, inside the seal. Answers
that stream are passed on piece by piece; other answers are sent when their authenticated
end was seen, so that a cut one becomes an error and not half a document.

A stream that is cut off ends with an error event and then with a broken connection: no
`[DONE]`, no regular end, nothing a client could take for one. A caller that goes away
ends the request to the gateway at once.
"""

from __future__ import annotations

from typing import Final

import httpx2
from starlette.types import Scope, Send

from confide.dialects.error_bodies import openai_error_event
from confide.errors import ConfideError
from confide.proxy.answers import send_body, send_error
from confide.proxy.endpoint import (
    DEFAULT_BODY_LIMIT,
    INNER,
    Ending,
    SealedEndpoint,
    goes_on,
    pieces_of,
    streams,
)

__all__ = ["DEFAULT_BODY_LIMIT", "SealedRoute"]

# Names for the log; a path holds whatever a client put into it.
_ROUTES: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/audio/transcriptions": "transcriptions",
    "/v1/audio/translations": "translations",
}


class SealedRoute(SealedEndpoint):
    """An ASGI endpoint that seals what it is asked and sends it on; see `SealedEndpoint`."""

    async def relay(self, scope: Scope, body: bytes, send: Send) -> Ending:
        """Send one request on, and its answer back."""
        try:
            response = await self._transport.handle_async_request(_request(scope, body))
        except ConfideError as error:
            await send_error(send, error)
            return Ending("failed", code=error.code)
        send_on = _send_stream if streams(response) else _send_whole
        try:
            failure = await send_on(response, send)
        finally:
            await response.aclose()
        request_id = response.headers.get("confide-request-id")
        if failure is not None:
            return Ending("failed", response.status_code, failure.code, request_id)
        return Ending("complete", response.status_code, None, request_id)

    def route_name(self, scope: Scope) -> str:
        """See `SealedEndpoint.route_name`."""
        path: str = scope["path"]
        stored = "responses" if path.startswith("/v1/responses/") else "models"
        return _ROUTES.get(path, stored)


def _request(scope: Scope, body: bytes) -> httpx2.Request:
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    headers = [(name, value) for name, value in scope["headers"] if goes_on(name)]
    url = INNER + target.decode("latin-1")
    return httpx2.Request(scope["method"], url, headers=headers, content=body)


def _headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    return [(n.lower(), v) for n, v in response.headers.raw if n.lower() != b"content-length"]


async def _send_whole(response: httpx2.Response, send: Send) -> ConfideError | None:
    try:
        body = b"".join([piece async for piece in pieces_of(response)])
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
        async for piece in pieces_of(response):
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
