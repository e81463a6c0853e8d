"""A server over HTTP that answers as a test says, and records what it was sent, byte for byte."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict
from tests.doubles.serving import serving

WAIT_S = 20.0


def sse(*events: object) -> list[bytes]:
    """Events of a stream, one piece each; an event with a type has a line that names it."""
    return [*map(sse_event, events)]


def sse_event(event: object) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


@dataclass
class Script:
    """One answer.

    Attributes:
        pieces: Written one after the other, flushed each.
        hold: Piece number to an event that is waited for before it is written.
        headers: Sent besides the content type.
        wrote_at: Monotonic seconds at which each piece was written.
        left_at: Monotonic seconds at which the client was seen to leave.
        left: Set then.
        reached: Set when the answer's head was written.
    """

    pieces: Sequence[bytes]
    content_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    hold: dict[int, threading.Event] = field(default_factory=dict)
    wrote_at: list[float] = field(default_factory=list)
    left_at: float | None = None
    left: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class ScriptedServer:
    """Answers by path; `/v1/models` lists what a probe wants to see."""

    scripts: dict[str, Script] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Yield the base URL, with /v1."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.handle)
        with serving(app) as url:
            yield url + "/v1"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/v1/models":
            return web.json_response({"object": "list", "data": []})
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path, headers, body))
        script = self.scripts.get(request.path)
        if script is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        response = web.StreamResponse(
            status=script.status,
            headers=CIMultiDict([("content-type", script.content_type), *script.headers]),
        )
        try:
            await self.play(request, response, script)
        except (asyncio.CancelledError, ConnectionError):
            script.left_at = time.monotonic()
            script.left.set()
            raise
        return response

    async def play(self, request, response, script) -> None:
        await response.prepare(request)
        script.reached.set()
        for number, piece in enumerate(script.pieces):
            if number in script.hold:
                await self.wait(script.hold[number])
            script.wrote_at.append(time.monotonic())
            await response.write(piece)
        await response.write_eof()

    @staticmethod
    async def wait(gate: threading.Event) -> None:
        deadline = time.monotonic() + WAIT_S
        while not gate.is_set():
            assert time.monotonic() < deadline, "nobody opened the gate"
            await asyncio.sleep(0.001)
