"""Who may use a relay, and what of a request's head is looked at.

The host application knows its users; the relay asks it, once per sealed request. What it does
not clearly permit is refused: a check that returns nothing admits nobody.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Final, TypeAlias

from confide.errors import AuthenticationError, GatewayError, RequestTooLarge
from confide.gateway.relay import Message
from confide.wire.media_types import CHUNKED_REQUEST
from confide.wire.metadata import DOCUMENT_HEADER

__all__ = ["Authorize", "Head", "admit", "anyone", "route_path"]

Authorize: TypeAlias = Callable[[Message], Awaitable[object] | object]
"""Looks at an ASGI scope and returns something true if its caller may use the relay.

It may raise a `GatewayError` to choose the refusal, such as `PermissionDenied` or `RateLimited`.
"""

_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")


def anyone(scope: Message) -> bool:  # noqa: ARG001 - an `Authorize`
    """Admit every caller: whoever reaches the relay spends the server's API key.

    For servers whose own middleware has refused strangers before the relay is reached.
    """
    return True


async def admit(authorize: Authorize, scope: Message) -> None:
    """Ask the host application about a caller.

    Raises:
        AuthenticationError: It did not say yes.
    """
    answer = authorize(scope)
    if isawaitable(answer):
        answer = await answer
    if not answer:
        raise AuthenticationError("this server does not relay for this caller")


@dataclass(frozen=True, slots=True)
class Head:
    """What is read of a sealed request's head. Nothing else of it goes on.

    Attributes:
        document: 64 hexadecimal digits, or None.
        length: content-length, or None.
    """

    document: bytes | None
    length: int | None

    @classmethod
    def read(cls, headers: list[tuple[bytes, bytes]], *, max_bytes: int) -> Head:
        """Pick the headers out of an ASGI scope.

        Raises:
            GatewayError: 400 for a malformed or repeated header, 415 for another media type.
            RequestTooLarge: content-length is over the maximum.
        """
        media_type = _only(headers, b"content-type")
        if media_type != CHUNKED_REQUEST.encode():
            raise GatewayError(
                f"a sealed request has the media type {CHUNKED_REQUEST}",
                status=415,
                code="unsupported-media-type",
            )
        document = _only(headers, DOCUMENT_HEADER.encode(), _DIGEST)
        text = _only(headers, b"content-length", _LENGTH)
        length = None if text is None else int(text)
        if length is not None and length > max_bytes:
            raise RequestTooLarge(f"a sealed request has at most {max_bytes} bytes")
        return cls(document, length)


def _only(
    headers: list[tuple[bytes, bytes]], name: bytes, form: re.Pattern[bytes] | None = None
) -> bytes | None:
    values = [value for key, value in headers if key == name]
    if len(values) > 1 or (values and form is not None and not form.fullmatch(values[0])):
        raise GatewayError(
            f"the header {name.decode()} came twice or is malformed",
            status=400,
            code="bad-request",
        )
    return values[0] if values else None


def route_path(scope: Message) -> str:
    """The path below the place where the relay is mounted (ASGI: `path` includes `root_path`)."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path
