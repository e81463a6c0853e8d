"""Fixtures of tests that run whole programs."""

import socket
import threading

import pytest


@pytest.fixture
def outside():
    """A proxy for everything that is not on loopback; it counts and answers nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    met = []

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            met.append(connection.recv(200))
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1], met
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
