"""The opened request that a handler gets, and the answer it gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from confide.enclave.inference.answer import RoutedResponse
from confide.enclave.inference.backend import ModelInfo, Operation
from confide.enclave.inference.body import JSONBody
from confide.enclave.inference.form import FormBody
from confide.enclave.inference.router import TokenCount
from confide.errors import ModelNotAllowed
from confide.wire.grants import Grant

__all__ = ["Answer", "Call", "ModelRouter", "Route"]

Headers = tuple[tuple[bytes, bytes], ...]


class ModelRouter(Protocol):
    """The part of `confide.enclave.inference.router.Router` that handlers use."""

    def models(self) -> list[ModelInfo]:
        """The models on offer."""
        ...

    async def route(
        self,
        operation: Operation,
        model: str,
        body: JSONBody | FormBody,
        fields: Mapping[str, object],
        stream: bool,
        isolation: bytes,
        headers: Headers = (),
    ) -> RoutedResponse:
        """Ask a backend of the model."""
        ...

    async def count_tokens(self, model: str, body: JSONBody, isolation: bytes) -> TokenCount:
        """Count the tokens of a chat's prompt."""
        ...


@dataclass(frozen=True)
class Call:
    """One opened, authenticated, fresh request.

    Attributes:
        body: Bytes of the inner body, as the client's program wrote them.
        tail: What follows the route's prefix in the path: the id in ``/v1/models/{id}``.
        grant: What the caller may do.
        router: Reaches the models.
        isolation: 32 secret bytes of the caller's domain.
        query: What follows the question mark in the path.
        content_type: Of the body; "" if it has none.
        headers: The caller's, those that an engine may see.
    """

    body: bytes = field(repr=False)
    tail: str = field(repr=False)
    grant: Grant
    router: ModelRouter = field(repr=False)
    isolation: bytes = field(repr=False)
    query: str = field(default="", repr=False)
    content_type: str = field(default="", repr=False)
    headers: Headers = field(default=(), repr=False)

    def require(self, operation: str, model: str | None = None) -> None:
        """Refuse what the grant does not cover.

        Raises:
            ModelNotAllowed: The operation, or the model for it, is not granted.
        """
        if not self.grant.allows(operation, None):
            raise ModelNotAllowed(f"this API key may not use {operation}")
        if not self.grant.allows(operation, model):
            raise ModelNotAllowed("this API key may not use the model")


@dataclass(frozen=True)
class Answer:
    """What goes back inside the seal: a whole body, or the answer of a backend.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
        body: The whole body; empty if `routed` is there.
        routed: A backend's answer whose `body` is still to be read.
    """

    status: int
    headers: Headers
    body: bytes = field(default=b"", repr=False)
    routed: RoutedResponse | None = None


@dataclass(frozen=True)
class Route:
    """One inner route.

    Attributes:
        method: The one method it answers.
        handle: The handler.
        operation: What it asks of a model; None if it asks nothing and costs nothing.
    """

    method: str
    handle: Callable[[Call], Awaitable[Answer]]
    operation: Operation | None = None
