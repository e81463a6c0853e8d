"""Which dialect is spoken where.

    openai      /v1/*  OpenAI's API
    anthropic   /v1/*  Anthropic's API
    both        /openai/v1/* and /anthropic/v1/*
    auto        /v1/*  both at once: their routes differ, but for the list of models, which
                answers in the dialect that the request's headers speak

`auto` is what `confide up` serves, so that one base URL fits any client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from confide.proxy.answers import Dialect

__all__ = ["ByDialect", "Compat", "Prefixed", "dialect_of"]

Compat: TypeAlias = Literal["openai", "anthropic", "both", "auto"]

_ANTHROPIC_HEADERS: Final = frozenset({b"anthropic-version", b"x-api-key"})
_ANTHROPIC_PATHS: Final = ("/v1/messages", "/v1/complete")


def dialect_of(scope: Scope, compat: Compat) -> Dialect:
    """The dialect in which a request is answered, also if there is no such route."""
    path: str = scope["path"]
    if compat in ("openai", "anthropic"):
        return compat
    if compat == "both":
        return "anthropic" if path.startswith("/anthropic/") else "openai"
    if path in _ANTHROPIC_PATHS or path.startswith("/v1/messages/"):
        return "anthropic"
    speaks = any(name in _ANTHROPIC_HEADERS for name, _ in scope["headers"])
    return "anthropic" if speaks else "openai"


@dataclass(frozen=True)
class ByDialect:
    """An ASGI endpoint that passes each request to the one of its dialect."""

    endpoints: Mapping[Dialect, ASGIApp]
    compat: Compat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        await self.endpoints[dialect_of(scope, self.compat)](scope, receive, send)


@dataclass(frozen=True)
class Prefixed:
    """An ASGI endpoint below a prefix; what is inside does not see it."""

    endpoint: ASGIApp
    prefix: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on with a shorter path."""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        inner = {
            **scope,
            "path": scope["path"].removeprefix(self.prefix),
            "raw_path": raw.removeprefix(self.prefix.encode()),
        }
        await self.endpoint(inner, receive, send)
