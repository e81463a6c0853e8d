"""A streamed chat completion as the events of an Anthropic message.

    message_start
    (content_block_start content_block_delta* content_block_stop)*
    message_delta            stop reason and the whole usage
    message_stop

The usage of an OpenAI stream comes after its finish reason, so the end is written when the
stream says that it is over. A stream that fails ends in an `error` event instead, without
`message_delta` and `message_stop`: it cannot be taken for a whole answer.

Source: Anthropic API reference, streaming messages; OpenAI API reference, chat completion
chunk object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confide.dialects.anthropic.answer import (
    empty_message,
    reasoning_of,
    stop_fields,
    usage_fields,
)
from confide.dialects.anthropic.errors import anthropic_error_event, error_event_of
from confide.dialects.anthropic.open_blocks import BlockQueue
from confide.dialects.anthropic.request import ChatRequest
from confide.dialects.sse import EventParser, encode_event
from confide.errors import ConfideError, EnclaveError

__all__ = ["PING", "MessageStream"]

PING: Final = encode_event('{"type":"ping"}', "ping")
"""May be sent between any two events of a message."""

_CUT: Final = "the model's answer stopped before its end"


class MessageStream:
    """Translates one stream. Not safe for concurrent use.

    What comes out does not depend on where the bytes that go in were cut.

    Args:
        request: What was asked.
        message_id: Id of the message, such as "msg_0123".

    Attributes:
        ended: The last event was written; there will be no more.
        failed: That event was an error.
    """

    def __init__(self, request: ChatRequest, message_id: str) -> None:
        self._request = request
        self._message_id = message_id
        self._parser = EventParser()
        self._blocks = BlockQueue(message_id)
        self._choice: dict[str, Any] = {}
        self._usage: object = None
        self._refused = False
        self._started = False
        self.ended = False
        self.failed = False

    def start(self) -> bytes:
        """The event that opens the message; empty if it was written already."""
        if self._started:
            return b""
        self._started = True
        message = empty_message(self._request, self._message_id)
        return _written({"type": "message_start", "message": message})

    def feed(self, content: bytes) -> bytes:
        """Take the next bytes and return the events they lead to."""
        written = self.start()
        for event in self._parser.feed(content):
            if self.ended:
                break
            written += b"".join(self._take(event.data))
        return written

    def finish(self) -> bytes:
        """The stream's bytes are over: write what is left."""
        if self.ended:
            return b""
        if "finish_reason" in self._choice:
            return self.start() + b"".join(self._end())
        return self.fail(EnclaveError(_CUT, status=502, code="backend-failed"))

    def fail(self, error: ConfideError) -> bytes:
        """End the stream with an error."""
        if self.ended:
            return b""
        return self._broken(anthropic_error_event(error))

    def _broken(self, event: bytes) -> bytes:
        self.ended = self.failed = True
        return event

    def _take(self, data: str) -> Iterator[bytes]:
        if data.strip() == "[DONE]":
            yield from self._end()
            return
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, Mapping):
            yield self.fail(EnclaveError("the stream is malformed", status=502))
            return
        if chunk.get("error") is not None:
            yield self._broken(error_event_of(chunk["error"]))
            return
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, Mapping):
            yield from self._take_choice(choice)

    def _take_choice(self, choice: Mapping[str, Any]) -> Iterator[bytes]:
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            self._take_delta(delta)
        for name in ("finish_reason", "stop_reason"):
            if choice.get(name) is not None:
                self._choice[name] = choice[name]
        yield from map(_written, self._blocks.events())

    def _take_delta(self, delta: Mapping[str, Any]) -> None:
        thought = reasoning_of(delta)
        if thought and self._request.shows_thinking:
            self._blocks.add_text("thinking", thought)
        for name in ("content", "refusal"):
            text = delta.get(name)
            if isinstance(text, str) and text:
                self._refused = self._refused or name == "refusal"
                self._blocks.add_text("text", text)
        calls = delta.get("tool_calls")
        for part in calls if isinstance(calls, list) else ():
            if isinstance(part, Mapping):
                self._take_call(part)

    def _take_call(self, part: Mapping[str, Any]) -> None:
        function = part.get("function")
        function = function if isinstance(function, Mapping) else {}
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(arguments, Mapping):  # some servers forget to write it as text
            arguments = json.dumps(arguments, separators=(",", ":"))
        self._blocks.add_call(
            part,
            self._request.names.restore(name) if isinstance(name, str) and name else "",
            arguments if isinstance(arguments, str) else "",
        )

    def _end(self) -> Iterator[bytes]:
        self.ended = True
        yield from map(_written, self._blocks.events(ended=True))
        called = self._blocks.called
        stop = stop_fields(self._choice, self._request, called=called, refused=self._refused)
        usage = usage_fields(self._usage)
        yield _written({"type": "message_delta", "delta": stop, "usage": usage})
        yield _written({"type": "message_stop"})


def _written(event: Mapping[str, Any]) -> bytes:
    return encode_event(json.dumps(event, separators=(",", ":")), event["type"])
