"""Turn what the embedded engine streams into chat answers.

Source: the OpenAI API reference, chat completion object and chunk object.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from confide.enclave.inference.backend import BackendUnavailable, Operation
from confide.enclave.inference.backends.llamacpp_structured import (
    StructuredPlan,
    ToolCall,
    read_tool_call,
)
from confide.enclave.inference.events import (
    DONE,
    EventSplitter,
    EventTooLong,
    event_json,
    write_event,
)
from confide.enclave.inference.shapes import Answer

__all__ = [
    "assemble",
    "mended",
    "named_stop",
    "structured_chunks",
    "write_chunks",
    "write_whole",
]

#: How the engine says that its own parser did not understand what it generated.
_UNPARSED = "does not match the expected"


async def _chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, object]]:
    """The JSON objects of a stream of events, errors among them."""
    splitter = EventSplitter()
    async for piece in pieces:
        try:
            events = splitter.feed(piece)
        except EventTooLong:
            raise BackendUnavailable("an event of the engine is too long") from None
        for event in events:
            chunk = event_json(event)
            if chunk is not None:
                yield chunk


def _choice(chunk: Mapping[str, object]) -> Mapping[str, object]:
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, Mapping) else {}


def _is_unparsed(chunk: Mapping[str, object]) -> bool:
    error = chunk.get("error")
    return isinstance(error, Mapping) and _UNPARSED in str(error.get("message"))


async def mended(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, object]]:
    """The chunks of a chat; output that the engine could not parse ends with "length".

    It has been delivered as text by then, and it is cut, or it would have parsed.

    Raises:
        BackendUnavailable: The engine failed otherwise.
    """
    last: dict[str, object] = {}
    ended = False
    async for chunk in _chunks(pieces):
        if "error" not in chunk:
            last = chunk
            ended = ended or _choice(chunk).get("finish_reason") is not None
            yield chunk
        elif _is_unparsed(chunk) and last:
            end = {"index": 0, "delta": {}, "finish_reason": "length"}
            yield {**last, "choices": [end]}
            return
        else:
            raise BackendUnavailable("the engine failed while answering")
    if not ended:
        raise BackendUnavailable("the engine stopped without a reason")


async def named_stop(
    chunks: AsyncIterator[dict[str, object]],
) -> AsyncIterator[dict[str, object]]:
    """Say which stop string ended a chat, in `stop_reason` of its choice, as vLLM does.

    The engine tells it only in its verbose report, which also quotes the prompt and stays here.
    """
    async for chunk in chunks:
        report = chunk.pop("__verbose", None)
        matched = report.get("stopping_word") if isinstance(report, Mapping) else None
        if isinstance(matched, str) and matched:
            yield {**chunk, "choices": [{**_choice(chunk), "stop_reason": matched}]}
        else:
            yield chunk


async def structured_chunks(
    pieces: AsyncIterator[bytes], plan: StructuredPlan
) -> AsyncIterator[dict[str, object]]:
    """A completion under a grammar, as the chunks of a chat.

    A forced tool call comes in one piece at the end: its name and arguments are one JSON
    text, and a piece of it is neither.

    Raises:
        BackendUnavailable: The engine failed or stopped without a reason.
    """
    answer, text, reason = None, "", None
    usage: object = None
    async for chunk in _chunks(pieces):
        if "error" in chunk:
            raise BackendUnavailable("the engine failed while answering")
        if answer is None:
            answer = _answer_of(chunk)
            yield answer.delta(None if plan.calls_tool else "", role=True)
        choice = _choice(chunk)
        fresh = choice.get("text")
        reason = choice.get("finish_reason") or reason
        usage = chunk.get("usage") or usage
        if isinstance(fresh, str) and fresh:
            text += fresh
            if not plan.calls_tool:
                yield _with_logprobs(answer.delta(fresh), choice.get("logprobs"))
    if answer is None or not isinstance(reason, str):
        raise BackendUnavailable("the engine stopped without a reason")
    if plan.calls_tool:
        call = read_tool_call(text)
        if call is not None:
            yield answer.tool_delta([_call_object(call)])
        reason = plan.reason if call is not None and call.complete else reason
    yield answer.finish(reason)
    if usage is not None:
        yield {**answer.usage(0, 0), "usage": usage}


def _answer_of(chunk: Mapping[str, object]) -> Answer:
    created = chunk.get("created")
    return Answer(
        Operation.CHAT,
        str(chunk.get("model", "")),
        str(chunk.get("id", "")),
        created if isinstance(created, int) else 0,
    )


def _with_logprobs(chunk: dict[str, object], logprobs: object) -> dict[str, object]:
    if logprobs is not None:
        return {**chunk, "choices": [{**_choice(chunk), "logprobs": logprobs}]}
    return chunk


def _call_object(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


async def write_chunks(chunks: AsyncIterator[dict[str, object]]) -> AsyncIterator[bytes]:
    """Chunks as events, with the event that ends a stream."""
    async for chunk in chunks:
        yield write_event(chunk)
    yield DONE


async def write_whole(chunks: AsyncIterator[dict[str, object]]) -> AsyncIterator[bytes]:
    """Chunks put together to one JSON answer."""
    yield json.dumps(await assemble(chunks), separators=(",", ":")).encode()


@dataclass
class _Message:
    """A chat message in the making."""

    texts: dict[str, str] = field(default_factory=dict)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    logprobs: list[object] = field(default_factory=list)

    def add(self, choice: Mapping[str, object]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            for key in ("content", "reasoning_content"):
                if isinstance(delta.get(key), str):
                    self.texts[key] = self.texts.get(key, "") + delta[key]
            for part in delta.get("tool_calls") or ():
                self._add_call(part)
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, Mapping) and isinstance(logprobs.get("content"), list):
            self.logprobs.extend(logprobs["content"])

    def _add_call(self, part: Mapping[str, object]) -> None:
        index = part.get("index")
        call = self.calls.setdefault(index if isinstance(index, int) else 0, {})
        function = part.get("function")
        pieces: dict[str, object] = {"id": part.get("id")}
        if isinstance(function, Mapping):
            pieces.update(function)
        for key in ("id", "name", "arguments"):
            if isinstance(pieces.get(key), str):
                call[key] = call.get(key, "") + str(pieces[key])

    def message(self) -> dict[str, object]:
        message: dict[str, object] = {"role": "assistant", "content": self.texts.get("content")}
        if "reasoning_content" in self.texts:
            message["reasoning_content"] = self.texts["reasoning_content"]
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call.get("id", ""),
                    "type": "function",
                    "function": {
                        "name": call.get("name", ""),
                        "arguments": call.get("arguments", ""),
                    },
                }
                for _, call in sorted(self.calls.items())
            ]
        elif message["content"] is None:
            message["content"] = ""
        return message


async def assemble(chunks: AsyncIterator[dict[str, object]]) -> dict[str, object]:
    """Put the chunks of a stream with one choice together.

    Raises:
        BackendUnavailable: There were none, or no reason to end.
    """
    message, head, reason, usage = _Message(), None, None, None
    matched: object = None
    async for chunk in chunks:
        head = head or chunk
        choice = _choice(chunk)
        message.add(choice)
        reason = choice.get("finish_reason") or reason
        matched = choice.get("stop_reason") or matched
        usage = chunk.get("usage") or usage
    if head is None or reason is None:
        raise BackendUnavailable("the engine stopped without a reason")
    answer: dict[str, object] = {key: head.get(key) for key in ("id", "created", "model")}
    logprobs = {"content": message.logprobs} if message.logprobs else None
    whole = {"index": 0, "message": message.message(), "finish_reason": reason}
    if matched is not None:
        whole["stop_reason"] = matched
    answer |= {"object": "chat.completion", "choices": [{**whole, "logprobs": logprobs}]}
    return answer if usage is None else {**answer, "usage": usage}
