"""What the enclave asks of a model engine, and what it gets back.

A backend is one engine: a server on this host or an embedded one. It takes the client's JSON
body as it came, byte for byte, and answers in the shape of the OpenAI API: one JSON object,
or server-sent events if the request asked for a stream. Retrying, fail-over, usage and the
refusal of engine-control fields are the router's work, not the backend's.

A backend refuses by raising `InvalidRequest`, `ContextTooLong` or `ModelNotFound` (the
request is at fault; no other backend is tried) or `BackendUnavailable` (this engine is at
fault; the next one is tried). Messages of these errors never quote what the engine said:
engines quote prompts.

Source: the OpenAI API reference, chat completions, completions, embeddings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

from confide.errors import InvalidRequest, ModelUnavailable
from confide.wire.inner_headers import Fields

__all__ = [
    "AUDIO",
    "EVENT_STREAM",
    "ISOLATION_LENGTH",
    "JSON",
    "MODEL_TYPES",
    "UNTYPED",
    "Backend",
    "BackendRequest",
    "BackendResponse",
    "BackendUnavailable",
    "ModelInfo",
    "Operation",
    "Precision",
    "TokenCounter",
    "Usage",
    "unsupported",
]

#: Length of a domain's isolation secret, in bytes.
ISOLATION_LENGTH = 32
#: Media type of a streamed answer.
EVENT_STREAM = "text/event-stream"
#: Media type of a whole answer.
JSON = "application/json"

Precision: TypeAlias = Literal["exact", "estimated"]


class Operation(StrEnum):
    """What is asked of a model."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    TRANSCRIPTIONS = "transcriptions"
    TRANSLATIONS = "translations"

    @property
    def granted_as(self) -> str:
        """The word in a grant's `ops` and in usage statements.

        The Responses API is another form of a chat; both audio routes are one permission.
        """
        if self in AUDIO:
            return "audio"
        return "chat" if self is Operation.RESPONSES else self.value


#: Operations whose body is a form with a file.
AUDIO: Final = frozenset({Operation.TRANSCRIPTIONS, Operation.TRANSLATIONS})

#: What a model of each type can be asked.
MODEL_TYPES: Final[Mapping[str, tuple[Operation, ...]]] = {
    "chat": (Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES),
    "embedding": (Operation.EMBEDDINGS,),
    "audio": (Operation.TRANSCRIPTIONS, Operation.TRANSLATIONS),
}

#: What a model without a type can be asked, if its engine can do it.
UNTYPED: Final = (*MODEL_TYPES["chat"], *MODEL_TYPES["embedding"])


class BackendUnavailable(ModelUnavailable):
    """One engine did not answer usefully; another may. Stays inside the enclave.

    The router tries the next backend and raises `ModelUnavailable` when none is left.

    Attributes:
        busy: The engine is healthy and said "later": try another, but do not count it as a
            failure.
    """

    code = "backend-unavailable"

    def __init__(self, message: str = "", *, busy: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.busy = busy


@dataclass(frozen=True)
class ModelInfo:
    """One model, as offered to clients or as a backend names it.

    Attributes:
        id: Its name.
        model_class: Coarse label for usage statements; never the name.
        context_length: Tokens of prompt and answer together, if known.
        operations: What it can be asked.
    """

    id: str
    model_class: str = "default"
    context_length: int | None = None
    operations: tuple[Operation, ...] = (Operation.CHAT, Operation.COMPLETIONS)

    @property
    def types(self) -> tuple[str, ...]:
        """Names of `MODEL_TYPES` that fit what it can be asked."""
        return tuple(
            name
            for name, asked in MODEL_TYPES.items()
            if not set(asked).isdisjoint(self.operations)
        )


@dataclass(frozen=True)
class Usage:
    """Tokens a request used.

    Attributes:
        prompt_tokens: Tokens read.
        completion_tokens: Tokens generated.
        precision: "exact" if the engine reported them; "estimated" if the router counted
            events because it reported nothing.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    precision: Precision = "estimated"


@dataclass(frozen=True)
class BackendRequest:
    """One request to one engine.

    Attributes:
        operation: What is asked.
        model: The engine's own name of the model.
        body: The JSON object, or the form, as the client sent it, but for fields the router
            had to set.
        fields: `body`, parsed; read-only. Of a form, its fields without the file.
        stream: The answer is to be a stream of events.
        isolation: 32 secret bytes, one value per domain for the life of the enclave. An
            engine that shares a cache between requests salts it with a value derived from
            this.
        content_type: Media type of `body`; that of a form has its boundary.
        headers: The caller's own, checked and chosen; a backend may ignore them.
    """

    operation: Operation
    model: str
    body: bytes = field(repr=False)
    fields: Mapping[str, object] = field(repr=False)
    stream: bool
    isolation: bytes = field(repr=False)
    content_type: str = field(default=JSON, repr=False)
    headers: Fields = field(default=(), repr=False)


def unsupported(operation: Operation) -> InvalidRequest:
    """The refusal of an engine that has no such operation. No other engine is tried."""
    return InvalidRequest(
        f"the engine of this model does not offer {operation.value}",
        param="model",
        code="operation-unsupported",
    )


async def _nothing_to_close() -> None:
    return None


@dataclass
class BackendResponse:
    """An answer that has begun.

    Attributes:
        status: HTTP status; 200, since refusals are raised.
        content_type: `EVENT_STREAM`, `JSON` or, for a transcript, a kind of text; the router
            refuses anything else.
        body: The answer. May raise `BackendUnavailable` if the engine dies midway.
        close: Called once by `aclose`.
        headers: The engine's own, chosen by `confide.wire.inner_headers.answer_fields`.
    """

    status: int
    content_type: str
    body: AsyncIterator[bytes] = field(repr=False)
    close: Callable[[], Awaitable[None]] = field(default=_nothing_to_close, repr=False)
    headers: Fields = field(default=(), repr=False)
    closed: bool = field(default=False, init=False)

    async def aclose(self) -> None:
        """Give the answer up: the engine stops generating. Safe to call twice."""
        if not self.closed:
            self.closed = True
            await self.close()


@runtime_checkable
class Backend(Protocol):
    """One model engine.

    Built as `Class(name, options)` by `build_backend`; building reads no file and opens no
    connection.

    Attributes:
        name: Its name in the enclave's settings.
        kind: The kind of engine, as in the settings.
        refused_fields: Top-level request fields that would reach into the engine (shared
            caches, slots, adapters, templates). The router answers 400 and names the field.
    """

    @property
    def name(self) -> str:
        """Name in the settings."""

    @property
    def kind(self) -> str:
        """Kind of engine."""

    @property
    def refused_fields(self) -> frozenset[str]:
        """Top-level request fields answered with 400."""

    async def start(self) -> None:
        """Make ready to be asked.

        Raises:
            ConfigError: The settings cannot work; nothing was started.
        """

    async def stop(self) -> None:
        """Release everything. Safe to call twice, or without `start`."""

    async def models(self) -> list[ModelInfo]:
        """Name the models the engine has.

        Raises:
            BackendUnavailable: It cannot be asked.
        """

    async def probe(self) -> None:
        """Check that the engine can serve, cheaply and without generating.

        Raises:
            BackendUnavailable: It cannot.
        """

    async def open(self, request: BackendRequest) -> BackendResponse:
        """Ask. Returns when the engine has accepted the request.

        Raises:
            InvalidRequest: The request is at fault.
            ContextTooLong: So is its length.
            ModelNotFound: The engine does not have this model.
            BackendUnavailable: The engine is at fault.
        """


@runtime_checkable
class TokenCounter(Protocol):
    """A backend that can also count: not every engine has a tokenizer to ask."""

    async def count_tokens(self, request: BackendRequest) -> int:
        """Count the tokens of a chat's prompt, after the model's own template.

        Args:
            request: A chat with `messages` and perhaps `tools`; nothing is generated.

        Raises:
            InvalidRequest: The request is at fault.
            BackendUnavailable: The engine is at fault, or cannot count.
        """
