"""Let only this machine's own programs use the proxy.

A web page the user visits can make the browser send requests to 127.0.0.1. Two checks
stop it: the `Host` header must be a name of this machine with the proxy's port, so a name
under the attacker's control that was rebound to 127.0.0.1 is refused; and an `Origin`
header, which browsers add to such requests, must be one of this machine. There are no CORS
headers, so a page could not read an answer either.

The total length of the headers is limited here as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from confide.errors import ConfideError, GatewayError, PermissionDenied
from confide.proxy.answers import Dialect, send_error

__all__ = ["LOCAL_NAMES", "MAX_HEADERS", "LocalGuard"]

MAX_HEADERS: Final = 64 * 1024
"""Names and values of all headers together, in bytes."""

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

_ORIGIN: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.ASCII)


class LocalGuard:
    """ASGI middleware: refuse what does not come from this machine's own programs.

    Args:
        app: What is guarded.
        port: The port the proxy listens on.
        hosts: Further names the proxy may be called by, "name" or "name:port".
        origins: Further origins that may call it, such as "https://app.example.org".
        dialect: Says in which dialect a refusal is written.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        port: int,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        dialect: Callable[[Scope], Dialect] = lambda _: "openai",
    ) -> None:
        self._app = app
        self._dialect = dialect
        names = [*LOCAL_NAMES, *(host.lower() for host in hosts)]
        self._hosts = frozenset(form for name in names for form in _forms(name, port))
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error. Lifespan messages pass."""
        if scope["type"] == "http" and (refusal := self._refusal(scope["headers"])):
            await send_error(send, refusal, self._dialect(scope))
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> ConfideError | None:
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADERS:
            return GatewayError(
                f"the headers are longer than {MAX_HEADERS} bytes",
                status=431,
                code="headers-too-large",
            )
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._hosts:
            return PermissionDenied(
                "the proxy is not called by this name",
                code="host-not-allowed",
                hint="use http://127.0.0.1 and the proxy's port, or set allowed_hosts",
            )
        origins = [value for name, value in headers if name == b"origin"]
        if not all(self._may_call(origin.decode("latin-1").lower()) for origin in origins):
            return PermissionDenied(
                "web pages of other machines may not call the proxy",
                code="origin-not-allowed",
                hint="set allowed_origins if this page is yours",
            )
        return None

    def _may_call(self, origin: str) -> bool:
        return origin in self._origins or _ORIGIN.fullmatch(origin) is not None


def _forms(name: str, port: int) -> tuple[str, ...]:
    """How a client writes a name in the Host header."""
    if re.search(r":[0-9]+$", name):
        return (name,)
    # Port 80 is left out by clients (RFC 9110 section 7.2).
    return (f"{name}:{port}", name) if port == 80 else (f"{name}:{port}",)
