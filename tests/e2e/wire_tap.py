"""A TCP forwarder that records every byte in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading


class WireTap:
    """Listen on a free loopback port and forward to another; keep what passes."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.up = bytearray()
        self.down = bytearray()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        # Closing alone would leave the thread in accept(), which could still take a connection.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, sink, kept in ((near, far, self.up), (far, near, self.down)):
                threading.Thread(target=self._copy, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                kept += block
                sink.sendall(block)
        # A half-close or a reset travels on.
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
