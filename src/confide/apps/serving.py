"""Run one ASGI application under uvicorn, with the bounds that uvicorn leaves open.

uvicorn's httptools protocol reads a request's head and its trailers of any length, and waits
for them as long as it takes. `BoundedProtocol` ends a connection whose head or trailers grow
over 64 KiB or whose head takes over 10 s. A bind that fails is a `ConfigError` with the
address, not a log line, and a start that fails raises what the application says was wrong.

An answer's head is held back until its body follows, so that a short answer is one write here
and one read at the other side.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from confide.errors import ConfideError, ConfigError

__all__ = ["MAX_HEAD", "BoundedProtocol", "Watcher", "listen", "serve"]

MAX_HEAD: Final = 64 * 1024
"""Longest request line and header section, in bytes; also the longest trailer section."""

_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 2048

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEEP_FREE: Final = 32 * 1024 * 1024
_FROM_HEAP: Final = 8 * 1024 * 1024


class _JoiningTransport:
    """A transport that joins the head of an answer with what is written right after it.

    A head that nothing follows in the same turn of the event loop leaves at its end.
    """

    __slots__ = ("_head", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        if self._head:
            content, self._head = self._head + content, b""
        elif content.startswith(b"HTTP/1.1 2"):
            self._head = content
            self._loop.call_soon(self._flush)
            return
        self._transport.write(content)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class BoundedProtocol(HttpToolsProtocol):
    """The fast HTTP/1.1 protocol of uvicorn with limits on the head of a request.

    A connection has `head_within_s` seconds for a head: from its start, from the first byte
    of a later head, and from the first byte that still comes after an answer is complete,
    such as the rest of a body that was refused. One that is silent between two requests is
    closed by uvicorn's keep-alive timer.

    Attributes:
        head_within_s: Seconds until a head must be complete.
    """

    head_within_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._moved = False  # a head was completed, or content came, in this read
        self._lines_length = 0  # bytes of header or trailer lines, at most one read too many
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with a transport that joins writes, and wait for the first head."""
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; end the connection if a head or trailers grow too long."""
        self._moved = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._lines_length = 0 if self._moved else self._lines_length + len(data)
        if self._lines_length > MAX_HEAD:
            if self._in_head:
                self.send_400_response("The request's headers are too long.")
            else:
                self.transport.close()
        elif self._in_head or self.cycle.response_complete:
            self._await_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._lines_length = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; drop a trailer, which uvicorn would add to the headers."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._moved = True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Content came."""
        self._moved = True
        super().on_body(body)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_within_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Watcher(Protocol):
    """Is told what the server does, in its event loop: one that hangs tells nothing."""

    def serving(self) -> None:
        """Requests are answered from now on."""

    def draining(self) -> None:
        """A stop signal was obeyed: nothing new is accepted, open requests may finish."""

    def ended(self) -> None:
        """The last request is over. The process ends by the signal right after this."""


class _Server(uvicorn.Server):
    """uvicorn's server, and someone who watches it."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher | None) -> None:
        super().__init__(config)
        self._watcher = watcher

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._watcher and self.started:
            self._watcher.serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._watcher:
            self._watcher.draining()
        await super().shutdown(sockets)
        if self._watcher:
            self._watcher.ended()


def listen(host: str, port: int) -> socket.socket:
    """Bind a TCP socket.

    Raises:
        ConfigError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="stop what listens there, or set another host or port in the settings",
        ) from error


def serve(
    app: Any,
    listener: socket.socket,
    *,
    drain_s: float,
    startup_error: Callable[[], ConfideError | None],
    protocol: type[BoundedProtocol] = BoundedProtocol,
    watcher: Watcher | None = None,
) -> None:
    """Serve until a stop signal, then let open requests finish.

    Args:
        app: The ASGI application; its lifespan starts and stops what it needs.
        listener: A bound socket.
        drain_s: How long open requests may go on after the signal.
        startup_error: Returns why the application's lifespan refused to start.
        protocol: Speaks HTTP; another one may word its refusals differently.
        watcher: Is told what the server does.

    Raises:
        ConfideError: The application did not start.
    """
    config = uvicorn.Config(
        app,
        http=protocol,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,  # type: ignore[arg-type]  # asyncio takes fractions
    )
    _settle_memory()
    try:
        _Server(config, watcher).run(sockets=[listener])
    except SystemExit:  # how uvicorn says that the lifespan did not start
        raise startup_error() or ConfigError("the server did not start") from None


def _settle_memory() -> None:
    """Say once what a server keeps: its modules, and freed memory for the next long body.

    The garbage collector need not walk over what was imported. glibc by default gives the
    memory of a 2 MB body back to the system and has it zeroed page by page for the next one,
    which costs more than sealing it; here it keeps up to 32 MiB.
    """
    gc.collect()
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # other C libraries do without
        mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_FREE)
