"""Ask a server on this machine whether it is alive."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping

__all__ = ["ask", "url_of"]


def url_of(facts: Mapping[str, object]) -> str:
    """Base URL, on this machine, of a server that noted its host and port."""
    host = str(facts.get("host", "127.0.0.1"))
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{facts.get('port')}"


def ask(facts: Mapping[str, object], *, timeout_s: float = 2.0) -> dict[str, object] | None:
    """Ask a server whether it is alive: the JSON object of `GET /`, None if there is none."""
    host, _, port = url_of(facts).removeprefix("http://").rpartition(":")
    if not port.isdigit():
        return None
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
    # Whatever address it listens on, this is a name of it that it always answers to.
    headers = {"Host": f"127.0.0.1:{port}", "Accept": "application/json"}
    try:
        connection.request("GET", "/", headers=headers)
        answer = connection.getresponse()
        parsed = json.loads(answer.read(65536)) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return parsed if isinstance(parsed, dict) else None
