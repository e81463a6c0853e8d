"""What a flow may ask its driver to do, and what the driver answers.

A flow (`confide.client.flow`) is a generator: it yields one of these and is sent the
reply. A driver performs each effect and decides nothing. If the network fails the driver
throws `TransportError` into the flow; its `code` says whether anything was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

__all__ = ["Alone", "Effect", "Fetch", "Flow", "Head", "Post", "Read", "Reply"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetch:
    """GET a small document from the gateway, without a credential. Reply: `Reply`.

    Attributes:
        path: Path and query below the gateway's URL.
        accept: The one media type that will do.
        limit: Bytes of body after which reading stops with a `TransportError`.
    """

    path: str
    accept: str
    limit: int


@dataclass(frozen=True, slots=True)
class Post:
    """POST a sealed request to the gateway. Reply: `Head`; the body is read with `Read`.

    Attributes:
        path: Path below the gateway's URL.
        headers: Outer headers, all that are sent.
        content: The sealed request.
    """

    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for the next bytes of the answer to the last `Post`. Reply: bytes, empty at its end."""


@dataclass(frozen=True, slots=True)
class Alone:
    """Run another flow while no other caller of the same transport runs one. Reply: its result."""

    flow: Callable[[], Flow[Any]]


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer of the gateway. All of it is untrusted.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
    """

    status: int
    headers: Mapping[str, str]

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Reply(Head):
    """A whole small answer.

    Attributes:
        body: At most the limit of the `Fetch`.
    """

    body: bytes = field(repr=False)


Effect: TypeAlias = Fetch | Post | Read | Alone
Flow: TypeAlias = Generator[Effect, Any, T]
