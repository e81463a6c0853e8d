"""Run one ASGI application under uvicorn, with the bounds that uvicorn leaves open.

uvicorn's httptools protocol reads a request's head of any length. `BoundedProtocol` ends a
connection whose head grows over 64 KiB. A bind that fails is a `ConfigError` with the
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
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from confide.errors import ConfideError, ConfigError

__all__ = ["MAX_HEAD", "BoundedProtocol", "listen", "serve"]

MAX_HEAD: Final = 64 * 1024
"""Longest request line and header section, in bytes."""

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
    """The fast HTTP/1.1 protocol of uvicorn with a limit on the head of a request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_length = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start with a transport that joins writes."""
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; end the connection if a head stays open for too long."""
        super().data_received(data)
        if not self._in_head:
            self._head_length = 0
            return
        self._head_length += len(data)
        if self._head_length > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's headers are too long.")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._head_length = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        super().on_headers_complete()


def listen(host: str, port: int) -> socket.socket:
    """Bind a TCP socket.

    Raises:
        ConfigError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def serve(
    app: Any,
    listener: socket.socket,
    *,
    drain_s: int,
    startup_error: Callable[[], ConfideError | None],
    protocol: type[BoundedProtocol] = BoundedProtocol,
) -> None:
    """Serve until a stop signal, then let open requests finish.

    Args:
        app: The ASGI application; its lifespan starts and stops what it needs.
        listener: A bound socket.
        drain_s: How long open requests may go on after the signal.
        startup_error: Returns why the application's lifespan refused to start.
        protocol: Speaks HTTP; another one may word its refusals differently.

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
        timeout_graceful_shutdown=drain_s,
    )
    _settle_memory()
    try:
        uvicorn.Server(config).run(sockets=[listener])
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
