"""Build answers of the OpenAI API for engines that speak something else.

Source: the OpenAI API reference: chat completion object and chunk object, completion object,
embeddings object, error object.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from confide.enclave.inference.backend import Operation

__all__ = ["Answer", "embedding_list", "error_body", "usage_object"]


def usage_object(prompt_tokens: int, completion_tokens: int) -> dict[str, object]:
    """The `usage` object of chat and completions."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def error_body(
    message: str, *, kind: str = "server_error", code: str | None = None, param: str | None = None
) -> dict[str, object]:
    """The error object, for a whole answer and for the last event of a stream."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class Answer:
    """Writes the objects of one chat or text completion.

    Attributes:
        operation: Chat or text completion.
        model: Name to put into every object.
        id: Identifier, the same in every object.
        created: Unix seconds.
    """

    operation: Operation
    model: str
    id: str = field(repr=False)
    created: int = 0

    def _object(self, choices: list[dict[str, object]], *, chunk: bool) -> dict[str, object]:
        if self.operation is Operation.CHAT:
            kind = "chat.completion.chunk" if chunk else "chat.completion"
        else:
            kind = "text_completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def delta(
        self, content: str | None = None, *, role: bool = False, reasoning: str | None = None
    ) -> dict[str, object]:
        """One chunk with new text."""
        if self.operation is not Operation.CHAT:
            choice = {"index": 0, "text": content or "", "logprobs": None, "finish_reason": None}
            return self._object([choice], chunk=True)
        delta: dict[str, object] = {"role": "assistant"} if role else {}
        if content is not None:
            delta["content"] = content
        if reasoning is not None:
            delta["reasoning"] = reasoning
        return self._choice_chunk(delta)

    def tool_delta(
        self, calls: Sequence[Mapping[str, object]], *, first: int = 0
    ) -> dict[str, object]:
        """One chunk with whole tool calls, numbered from `first`."""
        indexed = [{"index": number, **call} for number, call in enumerate(calls, first)]
        return self._choice_chunk({"tool_calls": indexed})

    def _choice_chunk(self, delta: Mapping[str, object]) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._object([choice], chunk=True)

    def finish(self, reason: str) -> dict[str, object]:
        """The chunk that says why generation ended."""
        choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": reason}
        if self.operation is Operation.CHAT:
            choice["delta"] = {}
        else:
            choice["text"] = ""
        return self._object([choice], chunk=True)

    def usage(self, prompt_tokens: int, completion_tokens: int) -> dict[str, object]:
        """The chunk that only reports usage; it has no choices."""
        chunk = self._object([], chunk=True)
        return {**chunk, "usage": usage_object(prompt_tokens, completion_tokens)}

    def whole(
        self,
        content: str | None,
        *,
        reason: str,
        usage: tuple[int, int],
        calls: Sequence[Mapping[str, object]] = (),
        reasoning: str | None = None,
    ) -> dict[str, object]:
        """The answer as one object; `usage` is (prompt tokens, completion tokens)."""
        choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": reason}
        if self.operation is Operation.CHAT:
            message: dict[str, object] = {"role": "assistant", "content": content, "refusal": None}
            if calls:
                message["tool_calls"] = list(calls)
            if reasoning:
                message["reasoning"] = reasoning
            choice["message"] = message
        else:
            choice["text"] = content or ""
        return {**self._object([choice], chunk=False), "usage": usage_object(*usage)}


def embedding_list(
    model: str, vectors: Iterable[Sequence[float]], *, prompt_tokens: int, encoding: object
) -> dict[str, object]:
    """The embeddings object; `encoding` is "base64" (little-endian float32) or "float"."""
    entries: list[dict[str, object]] = []
    for index, vector in enumerate(vectors):
        value: object = list(vector)
        if encoding == "base64":
            value = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        entries.append({"object": "embedding", "index": index, "embedding": value})
    return {
        "object": "list",
        "data": entries,
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }
