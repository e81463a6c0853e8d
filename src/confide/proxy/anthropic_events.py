"""A streamed Anthropic message on its way to the proxy's caller.

The head is sent when the enclave has begun, or before that with the first ping. What fails
after the head is an `error` event, followed by a broken connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import httpx2
from starlette.types import Message, Send

from confide.dialects.anthropic import PING, MessageStream
from confide.dialects.error_bodies import ErrorAnswer
from confide.errors import ConfideError, EnclaveError
from confide.proxy.answers import new_request_id
from confide.proxy.endpoint import Ending, pieces_of, streams
from confide.wire.inner_headers import answer_travels

__all__ = ["PING_EVERY_S", "Events", "RefusedError", "identity_of", "request_id_of"]

PING_EVERY_S: Final = 15.0
_EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")

T = TypeVar("T")


class RefusedError(Exception):
    """The enclave, or the gateway, answered with an error; it is translated already."""

    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.code: str = json.loads(answer.body)["error"].get("code", "")


class Events:
    """Sends one stream: the head as late as possible, events as they come, pings between."""

    def __init__(self, send: Send, stream: MessageStream, ping_every_s: float) -> None:
        self._send = send
        self._stream = stream
        self._every = ping_every_s
        self._begun = False

    async def send_all(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> Ending:
        """Ask, and send what comes of it."""
        response: httpx2.Response | None = None
        try:
            response = await self._waited_for(ask())
            if not streams(response):
                raise EnclaveError("the enclave did not stream", status=502)
            await self._begin(response)
            return await self._send_events(response)
        except RefusedError as refusal:
            if not self._begun:
                raise
            return await self._break_off(_event(refusal.answer.body), refusal.code, response)
        except ConfideError as error:
            if not self._begun:
                raise
            return await self._break_off(self._stream.fail(error), error.code, response)
        finally:
            if response is not None:
                await response.aclose()

    async def _send_events(self, response: httpx2.Response) -> Ending:
        pieces = pieces_of(response)
        while not self._stream.ended:
            piece = await self._waited_for(anext(pieces, None))
            if piece is None:
                await self._write(self._stream.finish())
            else:
                await self._write(self._stream.feed(piece))
        async for _ in pieces:
            pass  # the seal's authenticated end, after the stream's own
        code = "backend-failed" if self._stream.failed else None
        await self._send({"type": "http.response.body", "body": b""})
        outcome = "failed" if code else "complete"
        return Ending(outcome, response.status_code, code, request_id_of(response))

    async def _waited_for(self, awaitable: Awaitable[T]) -> T:
        """Wait, and send a ping whenever it takes long."""
        task = asyncio.ensure_future(awaitable)
        try:
            while not (await asyncio.wait((task,), timeout=self._every))[0]:
                await self._begin(None)
                await self._write(PING)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, ConfideError, RefusedError):
                    await task

    async def _begin(self, response: httpx2.Response | None) -> None:
        if self._begun:
            return
        self._begun = True
        headers = [_EVENTS, (b"cache-control", b"no-cache"), *identity_of(response)]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        await self._send(start)
        await self._write(self._stream.start())

    async def _write(self, content: bytes) -> None:
        if content:
            await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def _break_off(self, last: bytes, code: str, response: httpx2.Response | None) -> Ending:
        await self._write(last)
        # Returning without the last message makes the server break the connection.
        request_id = None if response is None else request_id_of(response)
        return Ending("failed", 200, code, request_id)


def _event(body: bytes) -> bytes:
    return b"event: error\ndata: " + body + b"\n\n"


def request_id_of(response: httpx2.Response) -> str | None:
    """The gateway's id of a request."""
    return response.headers.get("confide-request-id")


def identity_of(response: httpx2.Response | None) -> list[tuple[bytes, bytes]]:
    """The request's id, who answered, and the engine's own headers.

    Where nobody has given an id yet it is one of our own.
    """
    if response is None:
        return [(b"request-id", new_request_id().encode())]
    found = [
        (name, value)
        for name, value in response.headers.raw
        if name in (b"confide-request-id", b"x-confide-origin")
        or answer_travels(name.decode("latin-1"))
    ]
    identity = request_id_of(response) or new_request_id()
    return [*found, (b"request-id", identity.encode())]
