"""Deterministic backend for tests and demonstrations: it says what it was told.

* A chat answers with the last user message, a completion with its prompt, one word per token.
* If tools are offered and the message reads `call NAME {...}`, it calls that tool with that
  JSON object.
* A string of `stop` ends the answer before it; the choice's `stop_reason` says which one.
* Embeddings are unit vectors derived from a SHA-256 of the text: equal texts, equal vectors.

Delays, lengths and faults come from options, never from a prompt.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Literal

from pydantic import Field

from confide.enclave.inference.backend import (
    EVENT_STREAM,
    JSON,
    BackendRequest,
    BackendResponse,
    BackendUnavailable,
    ModelInfo,
    Operation,
    unsupported,
)
from confide.enclave.inference.events import DONE, write_event
from confide.enclave.inference.options import Options, parse_options
from confide.enclave.inference.shapes import Answer, embedding_list
from confide.errors import ContextTooLong, InvalidRequest, ModelNotFound

__all__ = ["EchoBackend", "EchoOptions"]

_OPERATIONS = (Operation.CHAT, Operation.COMPLETIONS, Operation.EMBEDDINGS)
_WORDS = re.compile(r"\s*\S+|\s+\Z")
_CALL = re.compile(r"\s*call\s+(?P<name>[A-Za-z0-9_.-]+)\s*(?P<arguments>\{.*\})?\s*\Z", re.DOTALL)


class EchoOptions(Options):
    """Options of the echo backend.

    Attributes:
        models: Names it answers to; empty means any.
        token_delay_ms: Pause before each token but the first.
        first_token_delay_ms: Pause before the first token.
        tokens: Generate exactly this many tokens by repeating the text; None means once.
        context_length: Words a prompt may have.
        embedding_dimensions: Length of a vector.
        fail: Break on purpose: "open" refuses every request, "probe" the health probe,
            "midstream" dies after `fail_after` tokens.
        fail_after: See `fail`.
    """

    models: tuple[str, ...] = ()
    token_delay_ms: float = Field(default=0, ge=0)
    first_token_delay_ms: float = Field(default=0, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    context_length: int = Field(default=4096, gt=0)
    embedding_dimensions: int = Field(default=32, gt=0, le=256)
    fail: Literal["none", "open", "probe", "midstream"] = "none"
    fail_after: int = Field(default=1, ge=0)


class EchoBackend:
    """See the module.

    Attributes:
        open_generations: Streams and answers being produced now.
        finished_generations: Those that reached their end.
        cancelled_generations: Those given up before it.
    """

    kind = "echo"
    refused_fields: frozenset[str] = frozenset()

    def __init__(self, name: str, options: Mapping[str, object]) -> None:
        self.name = name
        self.options = parse_options(EchoOptions, name, options)
        self.open_generations = 0
        self.finished_generations = 0
        self.cancelled_generations = 0

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def models(self) -> list[ModelInfo]:
        """The names in the options, or "echo"."""
        return [
            ModelInfo(
                id=name,
                context_length=self.options.context_length,
                operations=_OPERATIONS,
            )
            for name in self.options.models or ("echo",)
        ]

    async def probe(self) -> None:
        """Succeed unless told to fail."""
        if self.options.fail == "probe":
            raise BackendUnavailable("the echo backend was told to fail its probe")

    async def open(self, request: BackendRequest) -> BackendResponse:
        """Answer; see `Backend.open`."""
        if self.options.fail == "open":
            raise BackendUnavailable("the echo backend was told to refuse requests")
        if self.options.models and request.model not in self.options.models:
            raise ModelNotFound(f"no model {request.model!r}")
        if request.operation not in _OPERATIONS:
            raise unsupported(request.operation)
        if request.operation is Operation.EMBEDDINGS:
            return _whole(self._embeddings(request))
        text = _prompt(request)
        prompt_tokens = _count_prompt(request)
        if prompt_tokens > self.options.context_length:
            raise ContextTooLong(
                f"the prompt has {prompt_tokens} tokens; {self.options.context_length} fit"
            )
        if request.fields.get("n") not in (None, 1):
            raise InvalidRequest("only one choice can be generated", param="n")
        generation = _Generation(self, request, text, prompt_tokens)
        if request.stream:
            events = generation.events()
            return BackendResponse(200, EVENT_STREAM, events, generation.cancel)
        return BackendResponse(200, JSON, generation.whole(), generation.cancel)

    async def count_tokens(self, request: BackendRequest) -> int:
        """Count words; see `TokenCounter`."""
        return _count_prompt(request)

    def _embeddings(self, request: BackendRequest) -> dict[str, object]:
        given = request.fields.get("input")
        texts = given if isinstance(given, list) and not _is_tokens(given) else [given]
        if not texts or any(not isinstance(text, str | list) for text in texts):
            raise InvalidRequest("input must be a string or a list of strings", param="input")
        canonical = [text if isinstance(text, str) else json.dumps(text) for text in texts]
        vectors = [_vector(text, self.options.embedding_dimensions) for text in canonical]
        tokens = sum(len(text.split()) for text in canonical)
        encoding = request.fields.get("encoding_format")
        return embedding_list(request.model, vectors, prompt_tokens=tokens, encoding=encoding)


class _Generation:
    """One answer in the making."""

    def __init__(
        self, backend: EchoBackend, request: BackendRequest, text: str, prompt_tokens: int
    ) -> None:
        self._backend = backend
        self._request = request
        self._prompt_tokens = prompt_tokens
        self._call = _tool_call(request, text)
        said, self._stopped_by = _until_stop(text, request.fields.get("stop"))
        self._tokens = [] if self._call else _tokens(said, backend.options.tokens)
        limit = _limit(request)
        self._reason = "tool_calls" if self._call else "stop"
        if limit is not None and limit < len(self._tokens):
            self._tokens, self._reason = self._tokens[:limit], "length"
        if self._reason != "stop":
            self._stopped_by = None
        identity = hashlib.sha256(request.body).hexdigest()[:24]
        prefix = "chatcmpl" if request.operation is Operation.CHAT else "cmpl"
        self._answer = Answer(request.operation, request.model, f"{prefix}-{identity}")
        self._running = True
        backend.open_generations += 1

    def _end(self, *, finished: bool) -> None:
        if self._running:
            self._running = False
            self._backend.open_generations -= 1
            if finished:
                self._backend.finished_generations += 1
            else:
                self._backend.cancelled_generations += 1

    async def cancel(self) -> None:
        self._end(finished=False)

    async def _paced(self) -> AsyncIterator[str]:
        options = self._backend.options
        for number, token in enumerate(self._tokens):
            delay = options.token_delay_ms if number else options.first_token_delay_ms
            if delay:
                await asyncio.sleep(delay / 1000)
            if not self._running:
                return
            if options.fail == "midstream" and number >= options.fail_after:
                self._end(finished=False)
                raise BackendUnavailable("the echo backend was told to die midway")
            yield token

    def _usage(self) -> tuple[int, int]:
        return self._prompt_tokens, 1 if self._call else len(self._tokens)

    async def events(self) -> AsyncIterator[bytes]:
        """The answer as events."""
        if self._request.operation is Operation.CHAT:
            yield write_event(self._answer.delta("", role=True))
        async for token in self._paced():
            yield write_event(self._answer.delta(token))
        if not self._running:
            return
        if self._call:
            yield write_event(self._answer.tool_delta([self._call]))
        yield write_event(self._with_stop(self._answer.finish(self._reason)))
        wanted = self._request.fields.get("stream_options")
        if isinstance(wanted, Mapping) and wanted.get("include_usage") is True:
            yield write_event(self._answer.usage(*self._usage()))
        self._end(finished=True)
        yield DONE

    async def whole(self) -> AsyncIterator[bytes]:
        """The answer as one JSON object."""
        content = "".join([token async for token in self._paced()])
        answer = self._answer.whole(
            None if self._call else content,
            reason=self._reason,
            usage=self._usage(),
            calls=[self._call] if self._call else (),
        )
        self._end(finished=True)
        yield json.dumps(self._with_stop(answer), separators=(",", ":")).encode()

    def _with_stop(self, answer: dict[str, object]) -> dict[str, object]:
        choices = answer["choices"]
        if self._stopped_by is not None and isinstance(choices, list):
            choices[0]["stop_reason"] = self._stopped_by
        return answer


def _whole(answer: Mapping[str, object]) -> BackendResponse:
    async def body() -> AsyncIterator[bytes]:
        yield json.dumps(answer, separators=(",", ":")).encode()

    return BackendResponse(200, JSON, body())


def _prompt(request: BackendRequest) -> str:
    """The text to say: the last user message, or the prompt."""
    if request.operation is Operation.COMPLETIONS:
        prompt = request.fields.get("prompt", "")
        if isinstance(prompt, list) and prompt and all(isinstance(part, str) for part in prompt):
            prompt = prompt[0] if len(prompt) == 1 else None
        if not isinstance(prompt, str):
            raise InvalidRequest("prompt must be one string", param="prompt")
        return prompt
    for message in reversed(_messages(request)):
        if message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def _messages(request: BackendRequest) -> list[Mapping[str, object]]:
    messages = request.fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages must be a list with at least one message", param="messages")
    if not all(isinstance(message, Mapping) for message in messages):
        raise InvalidRequest("every message must be an object", param="messages")
    return messages


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _count_prompt(request: BackendRequest) -> int:
    if request.operation is Operation.COMPLETIONS:
        return len(_prompt(request).split())
    return sum(len(_text(message.get("content")).split()) for message in _messages(request))


def _until_stop(text: str, stop: object) -> tuple[str, str | None]:
    """The text before the first stop string, and that string."""
    given = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    places = [(text.find(one), one) for one in given if isinstance(one, str) and one in text]
    if not places:
        return text, None
    place, matched = min(places)
    return text[:place], matched


def _tokens(text: str, count: int | None) -> list[str]:
    words = _WORDS.findall(text)
    if count is None:
        return words
    words = words or ["word"]
    # Repeated words are kept apart, so that the answer has as many words as tokens.
    return [
        word if number < len(words) else " " + word.strip()
        for number, word in ((n, words[n % len(words)]) for n in range(count))
    ]


def _limit(request: BackendRequest) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = request.fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _tool_call(request: BackendRequest, text: str) -> dict[str, object] | None:
    tools = request.fields.get("tools")
    found = _CALL.match(text)
    if not found or not isinstance(tools, list) or request.operation is not Operation.CHAT:
        return None
    functions = [tool.get("function") for tool in tools if isinstance(tool, Mapping)]
    names = [function.get("name") for function in functions if isinstance(function, Mapping)]
    if found["name"] not in names:
        return None
    arguments = found["arguments"] or "{}"
    try:
        json.loads(arguments)
    except ValueError:
        return None
    identity = hashlib.sha256(request.body).hexdigest()[:16]
    function = {"name": found["name"], "arguments": arguments}
    return {"id": f"call_{identity}", "type": "function", "function": function}


def _vector(text: str, dimensions: int) -> list[float]:
    stream = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    raw = [int.from_bytes(stream[2 * n : 2 * n + 2]) - 32767.5 for n in range(dimensions)]
    norm = math.sqrt(sum(value * value for value in raw))
    return [round(value / norm, 8) for value in raw]


def _is_tokens(given: list[object]) -> bool:
    return bool(given) and all(isinstance(entry, int) for entry in given)
