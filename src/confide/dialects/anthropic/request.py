"""A Messages request as a chat completion request.

Fields that only steer Anthropic's own servers (`metadata`, `cache_control`, `container`,
`context_management`, `service_tier`, betas) are accepted and left out; `metadata.user_id`
names a device and has no business in a prompt's envelope.

Source: Anthropic API reference, `POST /v1/messages`; OpenAI API reference, chat completions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from confide.dialects.anthropic.fields import (
    Fields,
    at,
    member_list,
    member_object,
    member_text,
    read_object,
)
from confide.dialects.anthropic.messages import chat_messages
from confide.dialects.anthropic.tools import ToolNames, function_tools, tool_choice

__all__ = ["ChatRequest", "count_request", "translate_request"]

_PASSED: Final = ("temperature", "top_p", "top_k")
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_THINKING: Final = frozenset({"enabled", "disabled", "adaptive", "between-tools"})


@dataclass(frozen=True)
class ChatRequest:
    """A translated request, and what the translation of its answer needs.

    Attributes:
        body: The chat completion request, JSON.
        model: The model's name as the client wrote it.
        stream: Whether the client asked for events.
        names: Names of the tools.
        stop_sequences: Strings that end the answer.
        shows_thinking: False if the client turned thinking off.
    """

    body: bytes = field(repr=False)
    model: str
    stream: bool = False
    names: ToolNames = field(default_factory=ToolNames, repr=False)
    stop_sequences: tuple[str, ...] = field(default=(), repr=False)
    shows_thinking: bool = True

    def limited_to(self, max_tokens: int) -> ChatRequest:
        """The same request with another `max_tokens`."""
        fields = {**json.loads(self.body), "max_tokens": max_tokens}
        return ChatRequest(
            _written(fields),
            self.model,
            self.stream,
            self.names,
            self.stop_sequences,
            self.shows_thinking,
        )


def translate_request(body: bytes) -> ChatRequest:
    """Translate the body of `POST /v1/messages`.

    Raises:
        InvalidRequest: Malformed; the message names the place and quotes nothing.
    """
    given = read_object(body)
    fields, names = _prompt(given)
    limit = given.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise at("max_tokens", "a number above 0 is required")
    fields["max_tokens"] = limit
    fields |= {name: given[name] for name in _PASSED if given.get(name) is not None}
    stops = _stop_sequences(given.get("stop_sequences"))
    if stops:
        fields["stop"] = list(stops)
    fields |= tool_choice(given.get("tool_choice"), names)
    fields |= _output(given)
    thinking, shown = _thinking(given)
    fields |= thinking
    stream = given.get("stream")
    if not isinstance(stream, bool | None):
        raise at("stream", "must be true or false")
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return ChatRequest(_written(fields), fields["model"], stream is True, names, stops, shown)


def count_request(body: bytes) -> bytes:
    """Translate the body of `POST /v1/messages/count_tokens` for the enclave's tokenizer.

    Raises:
        InvalidRequest: Malformed.
    """
    return _written(_prompt(read_object(body))[0])


def _written(fields: Fields) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _prompt(given: Fields) -> tuple[dict[str, Any], ToolNames]:
    """What the model reads: model, messages, tools."""
    fields: dict[str, Any] = {"model": member_text(given, "model", "")}
    fields["messages"] = chat_messages(given.get("system"), given.get("messages"))
    tools, names = function_tools(given.get("tools"))
    if tools:
        fields["tools"] = tools
    return fields, names


def _stop_sequences(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    found = member_list(given, "stop_sequences")
    if not all(isinstance(one, str) and one for one in found):
        raise at("stop_sequences", "a list of non-empty strings is required")
    return tuple(found)


def _output(given: Fields) -> dict[str, Any]:
    """`output_config.format`, or its older place `output_format`."""
    config = given.get("output_config")
    wanted = given.get("output_format")
    place = "output_format"
    if config is not None:
        config = member_object(config, "output_config")
        if config.get("format") is not None:
            wanted, place = config["format"], "output_config.format"
    if wanted is None:
        return {}
    form = member_object(wanted, place)
    if form.get("type") != "json_schema":
        raise at(f"{place}.type", "must be json_schema")
    schema = dict(member_object(form.get("schema"), f"{place}.schema"))
    if schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    described = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def _thinking(given: Fields) -> tuple[dict[str, Any], bool]:
    """Fields for the engine, and whether the client wants to see thinking."""
    if given.get("thinking") is None:
        return {}, True
    wanted = member_object(given["thinking"], "thinking")
    kind = wanted.get("type")
    if not isinstance(kind, str) or kind not in _THINKING:
        raise at("thinking.type", "must be enabled, disabled, adaptive or between-tools")
    if kind == "disabled":
        return {"chat_template_kwargs": {"enable_thinking": False}}, False
    if kind != "enabled":
        return {}, True  # the model decides
    budget = wanted.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1024:
        raise at("thinking.budget_tokens", "a number of at least 1024 is required")
    effort = "low" if budget < 4096 else "medium" if budget < 16384 else "high"
    config = given.get("output_config")
    if isinstance(config, dict) and isinstance(config.get("effort"), str):
        effort = _EFFORTS.get(config["effort"], effort)
    return {"reasoning_effort": effort, "chat_template_kwargs": {"enable_thinking": True}}, True
