"""Copy a sealed request to its enclave and the sealed answer back, reading neither.

Bytes go on as they come, in both directions at once, and each side waits for the other: at
most `HIGH_WATER` bytes per direction stay here. The only bytes that are looked at are the clear
prefix (header and encapsulated key), because the grant names its digest.

While the answer is under way somebody watches the caller: a second task that reads the rest of
the body and then waits, or, if the body is here already, the server's connection itself (`Line`),
which costs a request no task. When the caller goes, the enclave's connection is aborted at once,
before the first byte of the answer as well as in the middle.

If the enclave dies in the middle of an answer, the caller's connection is cut too, so that
HTTP shows what the sealed stream shows anyway: this is not the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

from confide.errors import GatewayError, RequestTooLarge, StreamError, TransportError
from confide.gateway.upstream import Exchange, Headers, Upstream
from confide.wire.envelope import HEADER_LENGTH, RequestHeader, prefix_length
from confide.wire.metadata import RESPONSE_HEADERS

__all__ = [
    "ENCLAVE_HEADERS",
    "CallerGone",
    "Line",
    "Message",
    "Receive",
    "Relay",
    "Send",
    "Upload",
    "wait_until_gone",
]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

#: Headers of an enclave's answer that go on; the server writes its own date and framing.
ENCLAVE_HEADERS: Final = frozenset(
    name.encode() for name in RESPONSE_HEADERS - {"date", "transfer-encoding", "confide-request-id"}
)


class CallerGone(Exception):
    """The caller closed its connection."""


class Line(Protocol):
    """What a server can tell of a caller's connection without being waited for."""

    def arrived(self) -> bool:
        """Whether `receive` would return at once."""

    def watch(self, on_lost: Callable[[], None] | None) -> bool:
        """Call back when the connection is lost (None: no more); False if it is already."""


async def wait_until_gone(receive: Receive) -> None:
    """Wait until the caller closes its connection; a body that still comes is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Upload:
    """The body of a request, piece by piece, counted.

    Attributes:
        length: What content-length said, or None.
        line: The caller's connection, if the server shows it.
        count: Bytes received so far.
        complete: Whether all of it was received.
    """

    __slots__ = ("_idle_s", "_max", "_receive", "complete", "count", "held", "length", "line")

    def __init__(
        self,
        receive: Receive,
        *,
        length: int | None,
        max_bytes: int,
        idle_s: float,
        line: Line | None = None,
    ) -> None:
        self._receive = receive
        self.line = line
        self._max = max_bytes
        self._idle_s = idle_s
        self.length = length
        self.count = 0
        self.complete = False
        self.held = b""

    async def prefix(self) -> bytes:
        """Receive until the clear prefix is there; more may have come with it.

        Returns:
            Header and encapsulated key, and nothing else.

        Raises:
            CallerGone: The caller closed its connection.
            RequestTooLarge: More than the maximum.
            GatewayError: 408, the caller stopped sending.
            StreamError: The body ended before the prefix.
            KeyConfigError: The header names a KEM that does not exist here.
        """
        await self._hold(HEADER_LENGTH)
        length = _prefix_length(self.held[:HEADER_LENGTH])
        await self._hold(length)
        return self.held[:length]

    def take(self) -> bytes:
        """Hand out what was held back."""
        held, self.held = self.held, b""
        return held

    async def piece(self) -> bytes:
        """Receive the next piece; it may be empty.

        Raises:
            CallerGone: The caller closed its connection.
            RequestTooLarge: More than the maximum.
            GatewayError: 408, the caller stopped sending.
        """
        if self.line is not None and self.line.arrived():
            message = await self._receive()  # no timer for what is here
        else:
            message = await self._next()
        if message["type"] == "http.disconnect":
            raise CallerGone
        content: bytes = message.get("body", b"")
        self.complete = not message.get("more_body", False)
        self.count += len(content)
        if self.count > self._max:
            raise RequestTooLarge(f"a sealed request has at most {self._max} bytes")
        return content

    async def gone(self) -> None:
        """Wait until the caller closes its connection."""
        await wait_until_gone(self._receive)

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._receive()
        except TimeoutError:
            raise GatewayError(
                "the request body stopped coming", status=408, code="request-timeout"
            ) from None

    async def _hold(self, count: int) -> None:
        while len(self.held) < count:
            if self.complete:
                raise StreamError("the sealed request is cut short")
            piece = await self.piece()
            self.held = self.held + piece if self.held else piece


@lru_cache(maxsize=64)  # one entry per key and suite
def _prefix_length(header: bytes) -> int:
    return prefix_length(RequestHeader.parse(header))


class Relay:
    """One request on its way. Use once.

    Attributes:
        status: What the caller was answered, or 0 if nothing.
        bytes_down: Bytes of the answer handed to the caller's connection.
        outcome: "complete", "refused" (the enclave answered with an error status),
            "cancelled" (the caller went) or "failed" (the enclave went).
    """

    __slots__ = (
        "_cause",
        "_passed",
        "_send",
        "_task",
        "_upload",
        "bytes_down",
        "outcome",
        "status",
    )

    def __init__(
        self, upload: Upload, send: Send, *, passed: frozenset[bytes] = ENCLAVE_HEADERS
    ) -> None:
        """Take both ends.

        Args:
            upload: The request's body.
            send: As in ASGI.
            passed: Names of the answer's headers that go on, in lower case.
        """
        self._upload = upload
        self._send = send
        self._passed = passed
        self._task: asyncio.Task[Any] | None = None
        self._cause: Exception | None = None
        self.status = 0
        self.bytes_down = 0
        self.outcome = "failed"

    async def run(self, upstream: Upstream, target: bytes, headers: Headers, own: Headers) -> None:
        """Copy both ways until one side is done.

        Args:
            upstream: The enclave.
            target: Path at the enclave.
            headers: Headers for the enclave, without framing.
            own: Headers of ours to add to the answer.

        Raises:
            NoEnclaveAvailable: No connection to the enclave; nothing was answered.
            TransportError: The enclave went before it answered.
            GatewayError: The upload was too large or stopped, before an answer.
        """
        exchange = await upstream.open(
            b"POST", target, headers, self._upload.take(), length=self._upload.length
        )
        self._task = asyncio.current_task()
        side: asyncio.Future[None] | None = None
        if not self._watch():
            side = asyncio.ensure_future(self._from_caller(exchange))
        try:
            if side is None:
                await exchange.end()
            await self._to_caller(exchange, own, side)
        except asyncio.CancelledError:
            if self._cause is None:
                raise  # the server is stopping
            self._stopped()
        except TransportError:
            if self.status == 0:
                raise
            self.outcome = "failed"
        finally:
            self._unwatch(side)
            exchange.close()

    def _watch(self) -> bool:
        line = self._upload.line
        return self._upload.complete and line is not None and line.watch(self._lost)

    def _unwatch(self, side: asyncio.Future[None] | None) -> None:
        if side is not None:
            side.cancel()
        elif self._upload.line is not None:
            self._upload.line.watch(None)

    def _lost(self) -> None:
        self._cause = CallerGone()
        if self._task is not None:
            self._task.cancel()

    async def _from_caller(self, exchange: Exchange) -> None:
        upload = self._upload
        try:
            while not upload.complete:
                content = await upload.piece()
                if content:
                    await exchange.write(content)
            await exchange.end()
            await upload.gone()
        except (GatewayError, CallerGone) as error:
            self._cause = error
        else:
            self._cause = CallerGone()
        if self._task is not None:
            self._task.cancel()

    async def _to_caller(
        self, exchange: Exchange, own: Headers, side: asyncio.Future[None] | None
    ) -> None:
        await exchange.head()
        headers = [pair for pair in exchange.headers if pair[0] in self._passed]
        status = exchange.status
        send = self._send
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *own]})
        self.status = status
        more = True
        while more:
            content = await exchange.chunk()
            self.bytes_down += len(content)
            more = bool(content) and not exchange.complete
            if not more:
                # From here on the server reports our own end as a disconnect.
                self._unwatch(side)
                self.outcome = "complete" if status < 400 else "refused"
            await send({"type": "http.response.body", "body": content, "more_body": more})

    def _stopped(self) -> None:
        if self._task is not None:
            self._task.uncancel()
        if isinstance(self._cause, CallerGone):
            self.outcome = "cancelled"
        elif self.status == 0 and self._cause is not None:
            raise self._cause
