"""One HTTP/1.1 connection to an enclave and the request it carries.

The half of `confide.gateway.upstream` that knows HTTP: framing in both directions,
back-pressure, and what counts as an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from confide.errors import TransportError
from confide.gateway.outbox import outbox

__all__ = ["HIGH_WATER", "Connection", "OpenExchange"]

#: Bytes kept in each direction before the other side is told to wait.
HIGH_WATER: Final = 64 * 1024

_MAX_HEADERS: Final = 64 * 1024
_NO_BODY: Final = (204, 304)


class OpenExchange:
    """The state of one request; implements `confide.gateway.upstream.Exchange`.

    `head`, `chunk` and `read` raise `TransportError` (code "enclave-lost") if the enclave is
    gone or its answer is not acceptable; what arrived before is handed out first.
    """

    __slots__ = (
        *("chunked", "left", "sent", "connection"),  # the request
        *("status", "headers", "header_bytes", "framed", "ready", "final"),  # the answer's head
        *("pieces", "size", "complete", "failure", "waiter"),  # the answer's body
    )

    def __init__(self, connection: Connection, *, chunked: bool, left: int) -> None:
        self.connection = connection
        self.chunked = chunked
        self.left = left  # bytes of the body still to be written, if not chunked
        self.sent = not chunked and left == 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.header_bytes = 0
        self.framed: bytes = b""  # name of the header that says where the body ends
        self.ready = False  # status and headers are there
        self.final = False  # not an informational (1xx) answer
        self.complete = False
        self.failure: str | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        self.waiter: asyncio.Future[None] | None = None

    async def write(self, content: bytes) -> None:
        """Send the next piece of the body; waits while the enclave does not read."""
        if self.failure is not None or self.complete:
            return  # the answer, or its absence, says what happened
        if self.chunked:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        else:
            self.left -= len(content)
        if content:
            await self.connection.write(content)

    async def end(self) -> None:
        """Say that the body is complete."""
        if self.failure is not None or self.complete:
            return
        if self.chunked:
            await self.connection.write(b"0\r\n\r\n")
        self.sent = self.left <= 0 or self.chunked

    async def head(self) -> None:
        """Wait for status and headers."""
        while not self.ready:
            await self._wait()

    async def chunk(self) -> bytes:
        """Return what arrived of the body; empty at its end."""
        while not self.pieces:
            if self.complete:
                return b""
            await self._wait()
        content = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces = []
        self.size = 0
        if not self.complete and self.failure is None:
            self.connection.resume()
        return content

    async def read(self, limit: int) -> bytes:
        """Return the whole body, refusing more than `limit` bytes."""
        parts, size = [], 0
        while content := await self.chunk():
            size += len(content)
            if size > limit:
                self.close()
                raise TransportError("the enclave's answer is too long", code="enclave-lost")
            parts.append(content)
        return b"".join(parts)

    def close(self) -> None:
        """Let go; an answer that is not complete is aborted."""
        connection = self.connection
        if connection.exchange is self:
            connection.abort("closed by the gateway")

    async def _wait(self) -> None:
        if self.failure is not None:
            raise TransportError(self.failure, code="enclave-lost")
        self.waiter = self.connection.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One TCP or TLS connection; carries one exchange at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        """Wait for a transport.

        Args:
            loop: The running loop.
            on_free: Told when an exchange is complete in both directions.
            on_lost: Told when the connection is gone.
        """
        self.loop = loop
        self._on_free = on_free
        self._on_lost = on_lost
        self.exchange: OpenExchange | None = None
        self.since = loop.time()  # last byte, or when it was given back
        self._parser = httptools.HttpResponseParser(self)
        self._arrived = False  # whether the parser got on with what was just received
        self._quiet = 0  # bytes received since it last did
        self._reading = True
        self._writable: asyncio.Future[None] | None = None
        self._blocked = False
        self._outbox = outbox(loop)
        self._unsent = b""  # the head and what came with it, until the end of this turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what may wait in the write buffer."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def begin(self, exchange: OpenExchange, head: bytes) -> None:
        """Start an exchange by writing its head at the end of this turn of the loop."""
        self.exchange = exchange
        self.since = self.loop.time()
        self._unsent = head
        self._outbox.add(self._send)

    def _send(self) -> None:
        head, self._unsent = self._unsent, b""
        if head and not self.transport.is_closing():
            self.transport.write(head)

    async def write(self, content: bytes) -> None:
        """Write, then wait until the enclave reads, answers or goes away."""
        self.since = self.loop.time()
        if self._unsent:
            self._send()
        self.transport.write(content)
        exchange = self.exchange
        while (
            self._blocked and exchange is not None and not exchange.ready and not exchange.failure
        ):
            self._writable = self.loop.create_future()
            await self._writable

    def resume(self) -> None:
        """Read again after `HIGH_WATER` was drained."""
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    def stalled(self, now: float, idle_s: float) -> bool:
        """Whether the enclave has been silent for too long."""
        return self.exchange is not None and self._reading and now - self.since > idle_s

    def abort(self, reason: str) -> None:
        """Fail the exchange and drop the connection at once."""
        self._unsent = b""
        self._fail(reason)
        self.transport.abort()

    # ---- asyncio ------------------------------------------------------------------------

    def data_received(self, content: bytes) -> None:
        """Parse what arrived."""
        if self.exchange is None:
            self.transport.abort()  # nobody asked
            return
        self.since = self.loop.time()
        self._arrived = False
        try:
            self._parser.feed_data(content)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort("the enclave's answer is not HTTP that this gateway accepts")
            return
        # The parser keeps a header line, without limit, until it is complete.
        self._quiet = 0 if self._arrived else self._quiet + len(content)
        if self._quiet > _MAX_HEADERS:
            self.abort("the headers of the enclave's answer are too long")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """Fail the exchange, if there is one."""
        self._on_lost(self)
        self._fail("the connection to the enclave was cut off")

    def pause_writing(self) -> None:
        """The write buffer is full."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The write buffer has room."""
        self._blocked = False
        self._unblock()

    # ---- httptools: an exception in any of these becomes HttpParserError above ---------------

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for."""
        if self.exchange is None:
            raise ValueError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; refuse a second opinion on the length."""
        exchange = self._current()
        exchange.header_bytes += len(name) + len(value) + 4
        if exchange.header_bytes > _MAX_HEADERS:
            raise ValueError("too many headers")
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            if exchange.framed or (name == b"transfer-encoding" and value.lower() != b"chunked"):
                raise ValueError("ambiguous length")
            exchange.framed = name
        exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there; 1xx answers are skipped."""
        exchange = self._current()
        if self._parser.get_http_version() != "1.1":
            raise ValueError("another version of HTTP")
        status = self._parser.get_status_code()
        exchange.final = status >= 200
        if not exchange.final:
            exchange.headers, exchange.framed = [], b""
            return
        if not exchange.framed and status not in _NO_BODY:
            raise ValueError("the end of the answer could not be recognised")
        self._arrived = True
        exchange.status = status
        exchange.ready = True
        exchange.wake()
        self._unblock()

    def on_body(self, content: bytes) -> None:
        """Keep a piece; stop reading at `HIGH_WATER`."""
        exchange = self._current()
        self._arrived = True
        exchange.pieces.append(content)
        exchange.size += len(content)
        if exchange.size > HIGH_WATER and self._reading:
            self._reading = False
            self.transport.pause_reading()
        exchange.wake()

    def on_message_complete(self) -> None:
        """The answer is complete; give the connection back."""
        exchange = self._current()
        if not exchange.final:
            return  # 100 Continue and the like; the answer follows
        self._arrived = True
        exchange.complete = True
        self.exchange = None
        self.resume()
        if exchange.sent and self._parser.should_keep_alive() and not self.transport.is_closing():
            self._on_free(self)
        else:
            self.transport.close()
        exchange.wake()

    def _current(self) -> OpenExchange:
        if self.exchange is None:
            raise ValueError("bytes after the end of the answer")
        return self.exchange

    def _fail(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None and not exchange.complete:
            exchange.failure = exchange.failure or reason
            exchange.wake()
        self._unblock()

    def _unblock(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
