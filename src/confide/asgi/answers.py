"""Stream an answer to a browser as the model makes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final, Self

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["AnswerStream"]

_HEADERS: Final = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would otherwise collect an answer before it sends it
}


class AnswerStream(StreamingResponse):
    """A response whose pieces are sent one by one; made by `begin`.

    When the browser goes away, the request to the gateway is closed at once, which stops the
    model. An answer that is cut off cuts the connection to the browser too.
    """

    def __init__(
        self,
        first: str | bytes | None,
        rest: AsyncGenerator[str | bytes],
        headers: Mapping[str, str],
    ) -> None:
        self._rest = rest
        super().__init__(_joined(first, rest), headers={**_HEADERS, **headers})

    @classmethod
    async def begin(
        cls,
        pieces: AsyncIterator[str | bytes],
        *,
        media_type: str = "text/plain; charset=utf-8",
    ) -> Self:
        """Wait for the first piece, so that a refusal is still an error and not half an answer.

        Args:
            pieces: An asynchronous generator, such as `AsyncClient.chat_stream` returns.
            media_type: Of the whole answer; "text/event-stream" if the pieces are events.

        Raises:
            ConfideError: The request was refused; `ConfideMiddleware` answers it.
        """
        rest = _generator(pieces)
        first = await anext(rest, None)
        return cls(first, rest, {"content-type": media_type})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, or stop where the browser went."""
        async with aclosing(self._rest):
            await super().__call__(scope, receive, send)


async def _generator(pieces: AsyncIterator[str | bytes]) -> AsyncGenerator[str | bytes]:
    try:
        async for piece in pieces:
            yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


async def _joined(
    first: str | bytes | None, rest: AsyncGenerator[str | bytes]
) -> AsyncGenerator[str | bytes]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece
