"""Run the application under uvicorn, with bounded headers and a patient shutdown.

uvicorn's fast parser keeps headers of any length while they arrive; here a connection whose
headers pass 64 KiB, or take longer than 10 s, is answered 431 or closed before the application
hears of it.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from confide.errors import ConfigError
from confide.gateway.app import MAX_HEADERS
from confide.telemetry.logs import event

__all__ = ["BoundedProtocol", "Listening", "listen", "make_server"]

_HEADER_S: Final = 10.0
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the size and duration of headers."""

    _header_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        """Start counting."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._deadline is None:
            self._deadline = self.loop.call_later(_HEADER_S, self.transport.close)

    def on_url(self, url: bytes) -> None:
        """Count the request target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what could not be parsed; too long headers have their own status."""
        self._stop_clock()
        if self._header_bytes > MAX_HEADERS:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _count(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > MAX_HEADERS:
            raise ValueError("headers too long")  # the parser turns it into send_400_response

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


class _Server(uvicorn.Server):
    """Says when it listens and when it was asked to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            host, port = one.getsockname()[:2]
            event("listening", component="gateway", host=host, port=port)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        event("stopping", component="gateway", signal=sig)
