"""Turn what Ollama streams into answers of the OpenAI API.

Source: ollama/api/types.go and server/routes.go of August 2026.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final

from confide.enclave.inference.backend import BackendRequest, BackendUnavailable, Operation
from confide.enclave.inference.backends.engine_http import EngineReply
from confide.enclave.inference.backends.ollama_translate import call_objects, finish_reason
from confide.enclave.inference.events import DONE, write_event
from confide.enclave.inference.shapes import Answer, embedding_list

__all__ = ["OllamaAnswer", "embeddings_answer"]

#: Longest line of a stream, in bytes.
_MAX_LINE: Final = 8 * 1024 * 1024
#: Largest whole answer, in bytes.
_MAX_ANSWER: Final = 64 * 1024 * 1024


async def embeddings_answer(request: BackendRequest, reply: EngineReply) -> AsyncIterator[bytes]:
    """The embeddings object."""
    answer = await reply.read_json(_MAX_ANSWER)
    vectors = answer.get("embeddings") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(vectors, list):
        raise BackendUnavailable("the engine's answer has no embeddings")
    tokens = answer.get("prompt_eval_count")
    found = embedding_list(
        request.model,
        vectors,
        prompt_tokens=tokens if isinstance(tokens, int) else 0,
        encoding=request.fields.get("encoding_format"),
    )
    yield json.dumps(found, separators=(",", ":")).encode()


class OllamaAnswer:
    """One streamed answer of Ollama on its way to OpenAI's shape."""

    def __init__(self, request: BackendRequest, reply: EngineReply) -> None:
        self._request = request
        self._reply = reply
        prefix = "chatcmpl" if request.operation is Operation.CHAT else "cmpl"
        self._answer = Answer(request.operation, request.model, f"{prefix}-{secrets.token_hex(12)}")
        self._calls: list[dict[str, object]] = []
        self._reason = ""
        self._usage = (0, 0)

    async def _lines(self) -> AsyncIterator[Mapping[str, object]]:
        """The objects of the stream.

        Raises:
            BackendUnavailable: An error object came, a line is not an object, or the stream
                ended without `done`.
        """
        buffer = bytearray()
        async for piece in self._reply.pieces():
            buffer += piece
            *lines, rest = bytes(buffer).split(b"\n")
            buffer[:] = rest
            if len(buffer) > _MAX_LINE:
                raise BackendUnavailable("a line of the engine is too long")
            for line in filter(None, lines):
                found = _parse_line(line)
                yield found
                if found.get("done") is True:
                    return
        if buffer:  # a whole answer may come without a final newline
            found = _parse_line(bytes(buffer))
            if found.get("done") is True:
                yield found
                return
        raise BackendUnavailable("the engine's stream was cut")

    async def _parts(self) -> AsyncIterator[tuple[str, str, list[dict[str, object]]]]:
        """New text, new reasoning and new calls; notes reason and usage at the end."""
        async for line in self._lines():
            message = line.get("message")
            if isinstance(message, Mapping):
                calls = call_objects(message)
                text, reasoning = message.get("content"), message.get("thinking")
            else:
                calls, text, reasoning = [], line.get("response"), line.get("thinking")
            self._calls += calls
            yield _text(text), _text(reasoning), calls
            if line.get("done") is True:
                self._reason = finish_reason(line.get("done_reason"), called=bool(self._calls))
                self._usage = (
                    _count(line.get("prompt_eval_count")),
                    _count(line.get("eval_count")),
                )

    async def events(self) -> AsyncIterator[bytes]:
        """The answer as events."""
        first = self._request.operation is Operation.CHAT
        seen = 0
        async for text, reasoning, calls in self._parts():
            if first:
                first = False
                yield write_event(self._answer.delta("", role=True))
            if text or reasoning:
                yield write_event(self._answer.delta(text, reasoning=reasoning or None))
            if calls:
                yield write_event(self._answer.tool_delta(calls, first=seen))
                seen += len(calls)
        yield write_event(self._answer.finish(self._reason))
        wanted = self._request.fields.get("stream_options")
        if isinstance(wanted, Mapping) and wanted.get("include_usage") is True:
            yield write_event(self._answer.usage(*self._usage))
        yield DONE

    async def whole(self) -> AsyncIterator[bytes]:
        """The answer as one object."""
        texts, thoughts = [], []
        async for text, reasoning, _ in self._parts():
            texts.append(text)
            thoughts.append(reasoning)
        content = "".join(texts)
        answer = self._answer.whole(
            None if self._calls and not content else content,
            reason=self._reason,
            usage=self._usage,
            calls=self._calls,
            reasoning="".join(thoughts) or None,
        )
        yield json.dumps(answer, separators=(",", ":")).encode()


def _parse_line(line: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    # An error line may quote the prompt.
    if not isinstance(found, Mapping) or found.get("error") is not None:
        raise BackendUnavailable("the engine failed while answering")
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
