"""One HTTP exchange on bare ASGI: pieces in, pieces out, and whether the peer is still there.

The sealed route does without a framework: its body is taken as it arrives, its answer is
flushed as it is made, and the peer's leaving must be seen from the first byte to the last.

Source: ASGI HTTP connection scope; gateway.md section 2.9.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from confide.wire.media_types import PROBLEM
from confide.wire.problems import Problem

__all__ = ["ClientGone", "Exchange", "Message", "Receive", "Send"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_NO_STORE: Final = (b"cache-control", b"no-store")


class ClientGone(Exception):
    """The peer closed the connection before its request was complete."""


class Exchange:
    """The request of one peer and the answer to it.

    Args:
        scope: ASGI scope of type "http".
        receive: ASGI receive.
        send: ASGI send.
    """

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self._receive = receive
        self._send = send
        self._body_ended = False
        self._answered = False

    @property
    def answered(self) -> bool:
        """Whether the last piece of the answer was handed over."""
        return self._answered

    def header(self, name: bytes) -> str:
        """Return a header's value; "" if it is absent, repeated or not ASCII.

        Args:
            name: In lower case.
        """
        values = [value for key, value in self._headers if key == name]
        if len(values) != 1 or not values[0].isascii():
            return ""
        return values[0].decode("ascii").strip()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ClientGone: The peer left before the end of the body.
        """
        while not self._body_ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self._body_ended = not message.get("more_body", False)
            if piece := message.get("body", b""):
                yield piece

    async def peer_left(self) -> None:
        """Return when the peer is gone. Call it only after `pieces` came to its end."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send status 200 and headers."""
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [*headers, _NO_STORE]}
        )

    async def write(self, content: bytes, *, more: bool) -> None:
        """Send a piece of the answer now."""
        self._answered = not more
        await self._send({"type": "http.response.body", "body": content, "more_body": more})

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem document; the connection ends if the body was not read."""
        body = problem.encode()
        headers = [
            (b"content-type", PROBLEM.encode()),
            (b"content-length", str(len(body)).encode()),
            _NO_STORE,
        ]
        if problem.request_id:
            headers.append((b"confide-request-id", problem.request_id.encode()))
        if problem.retry_after_s is not None:
            headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
        if not self._body_ended:
            headers.append((b"connection", b"close"))
        await self._send(
            {"type": "http.response.start", "status": problem.status, "headers": headers}
        )
        await self.write(body, more=False)
