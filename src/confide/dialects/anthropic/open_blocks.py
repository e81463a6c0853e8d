"""The blocks of a streamed answer, put into an order that Anthropic's events can say.

OpenAI's deltas of several tool calls may come in turns, told apart by an index. Anthropic's
blocks come one after the other. So only the first unfinished block is written as it arrives;
what belongs to later ones waits until their turn. A tool's block is finished when its
arguments are a whole JSON object, or when the stream ends; text and thinking are finished when
something else has begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confide.dialects.anthropic.answer import signature
from confide.dialects.anthropic.ids import tool_use_id

__all__ = ["BlockQueue", "ObjectEnd"]

_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


class ObjectEnd:
    """Finds the end of a JSON object that arrives in pieces, reading each character once."""

    def __init__(self) -> None:
        self.reached = False
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, text: str) -> None:
        """Take the next piece."""
        for character in text:
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._quoted = character != '"'
                self._escaped = character == "\\"
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self.reached = self.reached or self._depth == 0


@dataclass
class _Block:
    kind: str
    index: int = -1  # in the message, once it was started
    waiting: str = ""
    written: str = ""  # of thinking only, for its signature
    name: str = ""
    call: str = ""
    end: ObjectEnd = field(default_factory=ObjectEnd)


class BlockQueue:
    """Takes deltas, gives events.

    Args:
        message_id: Makes ids for calls that have none.

    Attributes:
        called: A tool's block was started.
    """

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self._blocks: deque[_Block] = deque()
        self._calls: dict[object, _Block] = {}
        self._last_call: _Block | None = None
        self._next_index = 0
        self.called = False

    def add_text(self, kind: str, text: str) -> None:
        """Take a piece of "text" or "thinking"."""
        if not self._blocks or self._blocks[-1].kind != kind:
            self._blocks.append(_Block(kind))
        self._blocks[-1].waiting += text

    def add_call(self, part: Mapping[str, Any], name: str, arguments: str) -> None:
        """Take a piece of a tool call.

        Args:
            part: The entry of `tool_calls`, for its index and id.
            name: The client's name of the tool, if this piece names it.
            arguments: The piece of the arguments.
        """
        block = self._call_of(part, name)
        block.name = block.name or name
        block.waiting += arguments
        block.end.feed(arguments)

    def _call_of(self, part: Mapping[str, Any], name: str) -> _Block:
        index, given = part.get("index"), part.get("id")
        identity = given if isinstance(given, str) else ""
        block = self._calls.get(index) if isinstance(index, int) else self._last_call
        # Some servers give every call the index 0, or none, and tell them apart by the id.
        fresh = block is not None and bool(name and identity) and block.call not in ("", identity)
        if block is None or fresh:
            block = _Block("tool_use", call=identity)
            self._blocks.append(block)
            self._calls[index] = block
        block.call = block.call or identity
        self._last_call = block
        return block

    def events(self, *, ended: bool = False) -> Iterator[dict[str, Any]]:
        """The events that can be written now; with `ended`, all that are left."""
        while self._blocks:
            block = self._blocks[0]
            if block.kind != "tool_use" or block.name:
                yield from self._write(block)
            done = len(self._blocks) > 1 and (block.kind != "tool_use" or block.end.reached)
            if not ended and not done:
                return
            self._blocks.popleft()
            if block.index >= 0:
                yield from self._close(block)

    def _write(self, block: _Block) -> Iterator[dict[str, Any]]:
        if block.index < 0:
            if not block.waiting and block.kind != "tool_use":
                return
            block.index, self._next_index = self._next_index, self._next_index + 1
            started = self._content_block(block)
            yield {
                "type": "content_block_start",
                "index": block.index,
                "content_block": started,
            }
        if block.waiting:
            kind, member = _DELTAS[block.kind]
            yield _delta(block, {"type": kind, member: block.waiting})
            if block.kind == "thinking":
                block.written += block.waiting
            block.waiting = ""

    def _content_block(self, block: _Block) -> dict[str, Any]:
        if block.kind == "text":
            return {"type": "text", "text": ""}
        if block.kind == "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        self.called = True
        identity = block.call or f"call_{self._message_id}_{block.index}"
        return {
            "type": "tool_use",
            "id": tool_use_id(identity),
            "name": block.name,
            "input": {},
        }

    def _close(self, block: _Block) -> Iterator[dict[str, Any]]:
        if block.kind == "thinking":
            yield _delta(block, {"type": "signature_delta", "signature": signature(block.written)})
        yield {"type": "content_block_stop", "index": block.index}


def _delta(block: _Block, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": block.index, "delta": delta}
