"""Talk HTTP/1.1 to one enclave: a lean client for one fixed hop.

The gateway spends most of a request's CPU time in its HTTP client, so this is a small one
on `asyncio` and `httptools` instead of a general one (2.6 against 6.3 times the cost of nginx
for the whole gateway, measured). It does one thing: one request at a time on a connection of
a keep-alive pool, bodies streamed in both directions with back-pressure.

What it refuses, because it is the only reader of an enclave's clear bytes: an answer whose
end cannot be recognised (neither content-length nor chunked), one that has both, repeated
lengths, more than 64 KiB of headers, upgrades, and bytes nobody asked for.

What it never does: follow a redirect, keep a cookie, decompress, read a proxy from the
environment, or send a request twice. A connection that turns out to be closed before the
first byte was written is replaced by another; after that, failing is the honest answer,
because the enclave may have begun.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

from confide.errors import NoEnclaveAvailable
from confide.gateway.connection import Connection, OpenExchange

__all__ = ["EnclaveUpstream", "Exchange", "Headers", "Upstream"]

Headers = Sequence[tuple[bytes, bytes]]

_CONNECT_S: Final = 3.0
_KEEPALIVE_S: Final = 3.0  # below uvicorn's 5 s, so that the enclave never closes first
_SWEEP_S: Final = 1.0


class Exchange(Protocol):
    """One request and its answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    complete: bool

    async def write(self, content: bytes) -> None:
        """Send the next piece of the body; waits while the enclave does not read."""

    async def end(self) -> None:
        """Say that the body is complete."""

    async def head(self) -> None:
        """Wait until `status` and `headers` are there."""

    async def chunk(self) -> bytes:
        """Return what has arrived of the answer's body; empty at its end."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body, refusing more than `limit` bytes."""

    def close(self) -> None:
        """Let go; an answer that is not complete is aborted."""


class Upstream(Protocol):
    """Where requests go."""

    async def open(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, *, length: int | None
    ) -> Exchange:
        """Send the head and the first bytes of the body."""


class EnclaveUpstream:
    """A pool of connections to one enclave. Not safe for use from several threads."""

    def __init__(self, url: str, *, idle_s: float = 600.0, max_connections: int = 4096) -> None:
        """Remember where to connect; nothing is sent yet.

        Args:
            url: As `confide.gateway.addresses.enclave_url` wrote it.
            idle_s: An answer that makes no progress for this long is aborted.
            max_connections: Requests in flight at once.
        """
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._authority = parts.netloc.encode("ascii")
        self._idle_s = idle_s
        self._max = max_connections
        self._free: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def open(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, *, length: int | None
    ) -> Exchange:
        """Send the head and the first bytes of the body.

        Args:
            method: Such as b"POST".
            target: Path and query.
            headers: Without host and framing; values hold no line break.
            body: The first bytes of the body, maybe all.
            length: Bytes of the whole body, or None to send it chunked.

        Raises:
            NoEnclaveAvailable: No connection could be made; nothing was sent.
        """
        connection = self._pooled() or await self._connect()
        lines = [method, b" ", target, b" HTTP/1.1\r\nhost: ", self._authority, b"\r\n"]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if length is not None:
            lines += (b"content-length: %d\r\n\r\n" % length, body)
        else:
            lines.append(b"transfer-encoding: chunked\r\n\r\n")
            if body:
                lines.append(b"%x\r\n%b\r\n" % (len(body), body))
        exchange = OpenExchange(connection, chunked=length is None, left=(length or 0) - len(body))
        connection.begin(exchange, b"".join(lines))
        return exchange

    def close(self) -> None:
        """Abort every connection, in use or not."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.abort("the gateway is closing")
        self._free.clear()

    def drop_idle(self) -> None:
        """Close connections that are not in use; the enclave may have been replaced."""
        while self._free:
            self._free.pop().transport.close()

    def _free_again(self, connection: Connection) -> None:
        connection.since = connection.loop.time()
        self._free.append(connection)

    def _pooled(self) -> Connection | None:
        while self._free:
            connection = self._free.pop()  # the youngest; old ones die of age
            if not connection.transport.is_closing():
                return connection
        return None

    async def _connect(self) -> Connection:
        if len(self._all) >= self._max:
            raise NoEnclaveAvailable("too many requests are in flight to this enclave")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, on_free=self._free_again, on_lost=self._all.discard),
                    self._host,
                    self._port,
                    ssl=self._tls,
                )
        except (OSError, TimeoutError) as error:
            raise NoEnclaveAvailable("the enclave cannot be reached") from error
        self._all.add(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(_SWEEP_S, self._sweep, loop)
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._free and now - self._free[0].since > _KEEPALIVE_S:
            self._free.popleft().transport.close()
        for connection in list(self._all):
            if connection.stalled(now, self._idle_s):
                connection.abort("the enclave stopped answering")
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep, loop) if self._all else None
