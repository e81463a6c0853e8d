"""A small HTTP/1.1 load generator on asyncio: closed loop, keep-alive, chunk counting."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass
class Tally:
    answers: int = 0
    failures: int = 0
    chunks: int = 0
    first_byte_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection that sends the same request again and again."""

    def __init__(self, request: bytes, tally: Tally, remaining: list[int]) -> None:
        self.request, self.tally, self.remaining = request, tally, remaining
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.expect: int | None = None
        self.chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.next()

    def next(self) -> None:
        if self.remaining[0] <= 0:
            self.transport.close()
            return
        self.remaining[0] -= 1
        self.buffer, self.expect, self.chunked = b"", None, False
        self.started = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.expect is None and not self.chunked:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            if not head.startswith(b"http/1.1 200"):
                self.tally.failures += 1
                self.transport.close()
                return
            self.tally.first_byte_s.append(time.perf_counter() - self.started)
            data, self.buffer = self.buffer[end + 4 :], b""
            if b"transfer-encoding: chunked" in head:
                self.chunked = True
            else:
                at = head.find(b"content-length:")
                self.expect = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if self.chunked:
            if data:
                self.tally.chunks += 1
                self.buffer = (self.buffer + data)[-5:]
            if self.buffer == b"0\r\n\r\n":
                self.finished()
        elif self.expect is not None:
            self.expect -= len(data)
            if self.expect <= 0:
                self.finished()

    def finished(self) -> None:
        self.tally.answers += 1
        self.tally.whole_s.append(time.perf_counter() - self.started)
        self.next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def drive(port: int, request: bytes, *, total: int, connections: int) -> Tally:
    """Send `total` requests over `connections` keep-alive connections."""
    tally, remaining = Tally(), [total]
    loop = asyncio.get_running_loop()
    clients = [
        (
            await loop.create_connection(
                lambda: Client(request, tally, remaining), "127.0.0.1", port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return tally
