"""Ask a room on this machine whether it answers, and who holds a port."""

from __future__ import annotations

import http.client
import json
import socket

from confide.errors import ConfigError

__all__ = ["free_port", "json_of", "refuse_occupied"]


def json_of(port: int, path: str, *, timeout_s: float = 1.0) -> dict[str, object] | None:
    """GET a JSON object from a room on 127.0.0.1.

    Returns:
        The object of a 200 answer; None if there is none (yet).
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            return None
        parsed = json.loads(answer.read(1 << 20))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return parsed if isinstance(parsed, dict) else None


def refuse_occupied(room: str, port: int, option: str) -> None:
    """Refuse to start when something listens on a port already.

    Args:
        room: For the message: "proxy", "gateway" or "enclave".
        port: TCP port on 127.0.0.1.
        option: The command line option that chooses another port.

    Raises:
        ConfigError: Naming the port and, when visible, the pid that holds it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            from confide.proxy.ports import holder_of

            pid = holder_of("127.0.0.1", port)
            holder = f" (pid {pid})" if pid else ""
            raise ConfigError(
                f"something already listens on 127.0.0.1:{port}{holder}; the {room} needs it",
                hint=f"stop it, or choose another port: confide up {option} PORT",
            ) from error


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
