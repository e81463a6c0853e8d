"""The page for people at `GET /`: status, verification table, a small chat, how to connect.

Everything comes out of the wheel; the content security policy forbids anything else. The page
talks to this proxy only, as any other local client does, and `LocalGuard` stands before it. An
API key typed into it stays in the browser tab's memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from importlib import resources
from importlib.metadata import version
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from confide.attest.results import Verdict
from confide.client.transport import AsyncEncryptedTransport
from confide.errors import AttestationError, ConfideError
from confide.proxy.compat import Compat

__all__ = ["HEADERS", "LocalPage"]

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer below: nothing from elsewhere runs, nothing frames it, nothing is kept."""

_FILES: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}
_BASES: Final = {
    "openai": {"openai": "/v1"},
    "anthropic": {"anthropic": ""},
    "both": {"openai": "/openai/v1", "anthropic": "/anthropic"},
    "auto": {"openai": "/v1", "anthropic": ""},
}


class LocalPage:
    """Serves the page and what it asks for.

    Args:
        transport: Whose enclaves are shown and checked.
        compat: Which dialects the proxy speaks where.
    """

    def __init__(self, transport: AsyncEncryptedTransport, compat: Compat) -> None:
        self._transport = transport
        self._compat = compat
        self._files = {name: _read(name) for name in ("index.html", *_FILES)}

    def routes(self) -> list[Route]:
        """Return the routes beside `GET /`, all below `/_confide/`."""
        return [
            Route("/_confide/status", self._status, methods=["GET"]),
            Route("/_confide/verify", self._verify, methods=["POST"]),
            *(Route(f"/_confide/{name}", self._file(name), methods=["GET"]) for name in _FILES),
        ]

    def wanted(self, request: Request) -> bool:
        """Say whether this is a browser that asks for a page, not a program for the status."""
        return "text/html" in request.headers.get("accept", "")

    def html(self) -> Response:
        """Return the page."""
        return Response(self._files["index.html"], media_type="text/html", headers=HEADERS)

    def _file(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        async def serve(_: Request) -> Response:
            return Response(self._files[name], headers={**HEADERS, "content-type": _FILES[name]})

        return serve

    async def _status(self, _: Request) -> Response:
        return self._answer(self._transport.sessions.failure)

    async def _verify(self, _: Request) -> Response:
        """Challenge every enclave now, whatever was found before."""
        try:
            await self._transport.verify()
        except ConfideError as error:
            return self._answer(error)
        return self._answer(None)

    def _answer(self, error: ConfideError | None) -> Response:
        verdicts = self._transport.verdicts
        return JSONResponse(
            {
                "version": version("confide"),
                "gateway": self._transport.outer.gateway,
                "bases": _BASES[self._compat],
                "key_needed": not self._transport.outer.has_key,
                "verified": bool(verdicts) and error is None,
                "simulated": any(verdict.simulated for verdict in verdicts),
                "enclaves": [_enclave(verdict) for verdict in verdicts],
                "error": None if error is None else _error(error),
            },
            headers=HEADERS,
        )


def _read(name: str) -> bytes:
    return (resources.files(__package__) / name).read_bytes()


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _enclave(verdict: Verdict) -> dict[str, object]:
    return {
        "platform": verdict.platform,
        "simulated": verdict.simulated,
        "document_sha256": verdict.document_sha256.hex(),
        "policy_sha256": verdict.policy_digest.hex() or None,
        "verified_at": _moment(verdict.verified_at),
        "expires_at": _moment(verdict.expires_at),
        "factors": [factor.to_json() for factor in verdict.factors],
    }


def _error(error: ConfideError) -> dict[str, object]:
    factors = error.factors if isinstance(error, AttestationError) else ()
    return {
        "code": error.code,
        "message": str(error),
        "hint": error.hint,
        "refused": isinstance(error, AttestationError),
        "factors": [factor.to_json() for factor in factors],
    }
