"""Run the application under uvicorn, with bounded headers and a patient shutdown.

uvicorn's fast parser keeps headers of any length while they arrive; here a connection whose
headers pass 64 KiB, or take longer than 10 s, is answered 431 or closed before the application
hears of it.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from confide.errors import ConfigError
from confide.gateway.app import LINE, MAX_HEADERS
from confide.gateway.outbox import outbox
from confide.telemetry.logs import event, flush

__all__ = ["BoundedProtocol", "Listening", "listen", "make_server"]

_HEADER_S: Final = 10.0
_MAX_JOINED: Final = 32 * 1024
_COLLECT: Final = (20_000, 20, 20)
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class JoiningTransport:
    """Joins what is written in one turn of the loop, such as head and body of an answer.

    uvicorn writes head and body apart, and each write is a system call. What is written waits
    for the other writes of this turn (`confide.gateway.outbox`), at most `_MAX_JOINED` bytes.
    """

    __slots__ = ("_held", "_outbox", "_size", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._outbox = outbox(loop)
        self._held: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        """Write at the end of this turn."""
        if not self._held:
            self._outbox.add(self._flush)
        self._held.append(content)
        self._size += len(content)
        if self._size > _MAX_JOINED:
            self._flush()

    def close(self) -> None:
        """Write what waits, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held and not self.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))


class CallerLine:
    """A caller's connection as one request sees it; implements `confide.gateway.relay.Line`."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def arrived(self) -> bool:
        """Whether `receive` would return at once."""
        cycle = self._cycle
        return bool(cycle.body) or not cycle.more_body or cycle.disconnected

    def watch(self, on_lost: Callable[[], None] | None) -> bool:
        """Call back when the connection is lost (None: no more); False if it is already."""
        self._protocol.on_lost = on_lost  # one request of a connection is served at a time
        return not self._protocol.lost


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size and duration of headers."""

    _in_head = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None
    on_lost: Callable[[], None] | None = None
    lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with a transport that joins writes."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Parse; give up on a head that is too long or takes too long."""
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEADERS and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(_HEADER_S, self.transport.close)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._stop_clock()
        super().on_headers_complete()
        cycle = self.cycle
        cycle.scope["extensions"] = {LINE: {"line": CallerLine(self, cycle)}}

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock; tell the request that is being served."""
        self._stop_clock()
        super().connection_lost(exc)
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@dataclass(frozen=True)
class Listening:
    """Where and how to serve.

    Attributes:
        host: Address to bind.
        port: Port to bind; 0 for any free one.
        drain_s: How long answers in flight may take after SIGTERM.
        forwarded_allow_ips: Proxies whose X-Forwarded-For is believed; empty for none.
        tls_certificate: PEM file, or None for plain HTTP.
        tls_key: PEM file, or None.
    """

    host: str
    port: int
    drain_s: int
    forwarded_allow_ips: tuple[str, ...] = ()
    tls_certificate: str | None = None
    tls_key: str | None = None


def listen(where: Listening) -> socket.socket:
    """Bind before anything else starts, so that a taken port is one clear error.

    Raises:
        ConfigError: The address cannot be bound.
    """
    try:
        family = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((where.host, where.port), family=family, backlog=4096)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {where.host}:{where.port}: {error.strerror}",
            hint="is another gateway running? choose another [gateway] port",
        ) from error


def make_server(app: Any, where: Listening) -> uvicorn.Server:
    """Configure uvicorn: no access log, no server header, one worker."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(where.forwarded_allow_ips),
        forwarded_allow_ips=list(where.forwarded_allow_ips) or None,
        timeout_graceful_shutdown=where.drain_s,
        timeout_keep_alive=30,
        backlog=4096,
        ssl_certfile=where.tls_certificate,
        ssl_keyfile=where.tls_key,
    )
    return _Server(config)


def _settle_garbage() -> None:
    """Take what lives as long as the process out of the collector's sight; collect less often.

    Requests leave hardly any cycles; looking for them cost 5 % of the CPU (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)


class _Server(uvicorn.Server):
    """Says when it listens and when it was asked to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _settle_garbage()
        for one in sockets or ():
            host, port = one.getsockname()[:2]
            event("listening", component="gateway", host=host, port=port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        flush()  # uvicorn ends the process by the signal that stopped it; nothing runs after

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        event("stopping", component="gateway", signal=sig)
