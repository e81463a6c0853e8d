"""Read the tokens used out of an answer, without changing what the client sees.

A stream reports usage only when asked to. Usage is always needed, so the router asks when
the client did not, and takes the extra event out again: the client gets exactly the bytes of
the stream it asked for.

Source: the OpenAI API reference, `stream_options.include_usage`: every chunk gets a `usage`
field that is null, and one more chunk comes last with `usage` and no choices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from confide.enclave.inference.backend import Usage
from confide.enclave.inference.body import JSONBody
from confide.enclave.inference.events import event_json, event_payload, write_event
from confide.enclave.inference.shapes import error_body
from confide.errors import InvalidRequest

__all__ = [
    "StreamMeter",
    "TypedMeter",
    "engine_error_event",
    "estimate_tokens",
    "typed_error_event",
    "usage_of",
    "usage_request",
]

#: Rough length of a token, for estimates that are marked as such.
_CHARACTERS_PER_TOKEN: Final = 4


def usage_request(fields: Mapping[str, object]) -> dict[str, object] | None:
    """Fields to set so that a stream reports usage; None if the client asked itself."""
    options = fields.get("stream_options")
    if not isinstance(options, Mapping):
        return {"stream_options": {"include_usage": True}}
    if options.get("include_usage") is True:
        return None
    return {"stream_options": {**options, "include_usage": True}}


def usage_of(answer: Mapping[str, object]) -> Usage | None:
    """The usage an engine reported in a whole answer or an event, if it did."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return None
    # Responses and transcripts have their own words for it.
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    completion = usage.get("completion_tokens", usage.get("output_tokens", 0))
    if not _is_count(prompt) or not _is_count(completion):
        return None
    return Usage(int(str(prompt)), int(str(completion)), "exact")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def estimate_tokens(content: object) -> int:
    """Guess how many tokens the texts in a JSON value have: a quarter of their length.

    Data URLs are left out; names of fields do not count.
    """
    return -(-_characters(content) // _CHARACTERS_PER_TOKEN)


def _characters(content: object) -> int:
    total, waiting = 0, [content]
    while waiting:  # not recursive: the depth is the caller's choice
        value = waiting.pop()
        if isinstance(value, str):
            total += 0 if value.startswith("data:") else len(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return total


def engine_error_event() -> bytes:
    """The event that ends a stream whose engine failed; it quotes nothing."""
    return write_event(error_body("the model engine failed while answering", code="backend_failed"))


class StreamMeter:
    """Watches the events of one stream.

    Args:
        strip_usage: The client did not ask for usage; take it out.

    Attributes:
        began: Something of an answer was seen.
        finished: `[DONE]` was seen.
        failed: The engine sent an error event.
    """

    def __init__(self, *, strip_usage: bool) -> None:
        self._strip_usage = strip_usage
        self._reported: Usage | None = None
        self._events = 0
        self.began = False
        self.finished = False
        self.failed = False

    def usage(self, prompt: object) -> Usage:
        """Tokens so far; estimated from the prompt and the events if none were reported."""
        if self._reported is not None:
            return self._reported
        return Usage(estimate_tokens(prompt), self._events, "estimated")

    def pass_on(self, event: bytes) -> bytes:
        """Take note of one whole event; return what the client gets, maybe nothing."""
        payload = event_payload(event)
        if payload is None:
            return event
        if payload.strip() == b"[DONE]":
            self.began = self.finished = True
            return event
        # Inside JSON strings these quotes are escaped, so neither test fires on content.
        if b'"error"' in payload:
            chunk = event_json(event)
            if chunk is not None and chunk.get("error") is not None and "choices" not in chunk:
                self.failed = True
                return engine_error_event()
        self.began = True
        if b'"usage"' not in payload:
            self._events += 1
            return event
        return self._with_usage(event)

    def _with_usage(self, event: bytes) -> bytes:
        chunk = event_json(event)
        if chunk is None or "usage" not in chunk:
            self._events += 1
            return event
        self._reported = usage_of(chunk) or self._reported
        if chunk.get("choices") != []:
            self._events += 1
        elif self._strip_usage:
            return b""
        if not self._strip_usage:
            return event
        try:
            return b"data: " + JSONBody(event_payload(event) or b"").without("usage") + b"\n\n"
        except InvalidRequest:  # an engine that names a field twice
            return event


def typed_error_event() -> bytes:
    """The same for a stream whose events have types; `error` is what other streams have.

    Clients of the Responses API read the members beside it, OpenAI's own libraries also look
    for `error` and raise.
    """
    error = error_body("the model engine failed while answering", code="backend_failed")["error"]
    assert isinstance(error, dict)  # noqa: S101 - written by us
    flat = {"type": "error", "code": error["code"], "message": error["message"], "param": None}
    return b"event: error\n" + write_event({**flat, "sequence_number": 0, "error": error})


class TypedMeter(StreamMeter):
    """Watches a stream whose events say in `type` what they are, and which has no `[DONE]`.

    Args:
        final: Types of the events that end the stream regularly.
    """

    def __init__(self, *, final: Collection[str]) -> None:
        super().__init__(strip_usage=False)
        self._final = {kind: kind.encode() for kind in final}

    def pass_on(self, event: bytes) -> bytes:
        """Take note of one whole event; every event passes unchanged but an engine's error."""
        payload = event_payload(event)
        if payload is None:
            return event
        if payload.strip() == b"[DONE]":
            self.began = self.finished = True
            return event
        self.began = True
        # Most events are deltas, and need not be parsed to be counted.
        if b'"error"' in payload or b'"response.failed"' in payload:
            told = event_json(event) or {}
            if told.get("type") in ("error", "response.failed") or _is_error(told):
                self.failed = True
                return typed_error_event()
        if any(kind in payload for kind in self._final.values()):
            self._take_end(event_json(event) or {})
        else:
            self._events += b".delta" in payload
        return event

    def _take_end(self, told: Mapping[str, object]) -> None:
        if told.get("type") not in self._final:
            self._events += 1  # content that quotes the name of the event
            return
        self.finished = True
        response = told.get("response", told)
        if isinstance(response, Mapping):
            self._reported = usage_of(response) or self._reported


def _is_error(told: Mapping[str, object]) -> bool:
    return "type" not in told and told.get("error") is not None
