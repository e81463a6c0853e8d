"""An application with the middleware, served by uvicorn in a thread; the stack is a double."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from tests.doubles.sealed_stack import SealedStack

from confide import AsyncClient


@pytest.fixture
def stack():
    return SealedStack()


@pytest.fixture
def connect(stack):
    def make(**options):
        options = {"verifier": stack.verifier, "transport": stack.transport, **options}
        return AsyncClient(stack.url, api_key="ck_test", clock=stack.clock, **options)

    return make


@contextmanager
def running(app):
    """Yield the base URL, or None if the application refused to start."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(config)

    def serve():
        with suppress(SystemExit):
            server.run(sockets=[listener])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and thread.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between two polls
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}" if server.started else None
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
