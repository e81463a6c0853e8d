"""Run the application under uvicorn, with bounded connections and a patient shutdown.

uvicorn's fast parser keeps headers and trailers of any length, and waits for them without end.
Here a connection may send 64 KiB that are no body (a head, trailers, the extensions of a chunk),
and 10 s may pass until a head is complete, from the connection's first moment on. Trailers are
dropped. A body that is still coming when its answer is complete may come for 5 s more, so that
the caller can read the answer; then the connection is closed.
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

from confide.errors import ConfigError, GatewayError
from confide.gateway.app import LINE, MAX_HEADERS
from confide.gateway.outbox import outbox
from confide.telemetry.logs import event, flush

__all__ = ["BoundedProtocol", "Listening", "listen", "make_server"]

_HEADER_S: Final = 10.0
_LINGER_S: Final = 5.0
_MAX_JOINED: Final = 32 * 1024
_COLLECT: Final = (20_000, 20, 20)


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
    """uvicorn's protocol with a bound on the size and duration of all that is no body."""

    _in_head = True
    _arrived = False  # whether the parser got on with what was just received
    _quiet = 0  # bytes received since it last did
    _clock: asyncio.TimerHandle | None = None
    on_lost: Callable[[], None] | None = None
    lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with a transport that joins writes."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self._start_clock(_HEADER_S)

    def data_received(self, data: bytes) -> None:
        """Parse; give up on a head, or on trailers, too long or too slow."""
        self._arrived = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._quiet = 0 if self._arrived else self._quiet + len(data)
        if self._quiet > MAX_HEADERS:
            self._refuse(
                GatewayError("the headers are too long", status=431, code="headers-too-large")
            )
        elif self._clock is None and (self._in_head or not self._serving()):
            self._start_clock(_HEADER_S)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; drop a trailer, which must not pass for one."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._arrived = True
        self._stop_clock()
        super().on_headers_complete()
        cycle = self.cycle
        cycle.scope["extensions"] = {LINE: {"line": CallerLine(self, cycle), "peer": self.client}}

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._arrived = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here as a whole, maybe after its answer."""
        self._arrived = True
        super().on_message_complete()
        if not self._serving():
            self._start_clock(_HEADER_S)

    def on_response_complete(self) -> None:
        """An answer is complete, maybe before its request."""
        super().on_response_complete()
        if not self._serving() and self.cycle.more_body and not self.transport.is_closing():
            self._start_clock(_LINGER_S)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says more
        """Refuse what is not HTTP."""
        self._refuse(GatewayError("this is not HTTP/1.1", status=400, code="bad-request"))

    def _refuse(self, error: GatewayError) -> None:
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(self.config.app.unparsed(error))  # type: ignore[union-attr]
        self.transport.close()  # an answer that is under way is cut off

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock; tell the request that is being served."""
        self._stop_clock()
        super().connection_lost(exc)
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._clock = None
        if self._serving():
            self._start_clock(_HEADER_S)  # the next request began before this answer ended
        else:
            self.transport.close()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


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
