"""Run a double on a free loopback port, in a thread of its own.

Usable from plain tests and from asynchronous ones: the double shares no event loop with the
code under test, as a real server would not.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """Yield the base URL, such as http://127.0.0.1:45123."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    ports: list[int] = []
    stopping = asyncio.Event()

    async def run() -> None:
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        started.set()
        await stopping.wait()
        await runner.cleanup()

    def main() -> None:
        try:
            loop.run_until_complete(run())
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            started.set()

    thread = threading.Thread(target=main, name="double", daemon=True)
    thread.start()
    assert started.wait(10), "the double did not start"
    assert ports, "the double did not start"
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
