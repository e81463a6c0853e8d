"""Make llama.cpp answer in a given shape, reliably: JSON schemas and forced tool calls.

Two faults of the engine's chat route are walked around. Structured output that runs into the
token limit is an error there instead of `finish_reason: "length"`, because what was generated
does not parse (ggml-org/llama.cpp issue 27279). And a required tool call is not required: the
grammar allows free text before it, and a weak model never gets to the call.

So both are done in two steps: the chat template is applied by itself, then the prompt is
completed under a grammar that allows nothing but the JSON wanted. What comes back is put into
the shape of a chat answer here. Nothing of it is parsed by the engine.

Source: the OpenAI API reference, `response_format` and `tool_choice`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confide.errors import InvalidRequest

__all__ = ["StructuredPlan", "ToolCall", "plan_structured", "read_tool_call"]

_CALL_HEAD: Final = re.compile(
    r'\s*\{\s*"name"\s*:\s*(?P<name>"(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?P<rest>.*)\Z',
    re.DOTALL,
)
_ANY_OBJECT: Final[Mapping[str, object]] = {"type": "object"}
#: For the engine's grammar library: write JSON the one way that models have read most of it.
#: Free whitespace is where weak models lose themselves until the token limit.
_ONE_SPELLING: Final[Mapping[str, object]] = {
    "x-guidance": {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
}


@dataclass(frozen=True)
class StructuredPlan:
    """How to answer one request.

    Attributes:
        schema: JSON schema of the text to generate.
        tools: The tools to show to the model; empty unless a call is forced.
        reason: `finish_reason` of a complete answer.
    """

    schema: Mapping[str, object]
    tools: Sequence[Mapping[str, object]] = ()
    reason: str = "stop"

    @property
    def calls_tool(self) -> bool:
        """Whether the text is a tool call."""
        return bool(self.tools)


@dataclass(frozen=True)
class ToolCall:
    """A call read from generated text.

    Attributes:
        name: The tool.
        arguments: JSON text; cut short if not complete.
        complete: The text was a whole call.
    """

    name: str
    arguments: str
    complete: bool


def plan_structured(fields: Mapping[str, object]) -> StructuredPlan | None:
    """Decide whether a chat request needs the two steps; None if not.

    Raises:
        InvalidRequest: `tool_choice` or `response_format` is malformed.
    """
    choice = fields.get("tool_choice")
    if choice not in (None, "auto", "none"):
        tools, reason = _chosen_tools(choice, _tools(fields))
        if tools:
            return StructuredPlan({**_call_schema(tools), **_ONE_SPELLING}, tools, reason)
    if fields.get("tools") and choice != "none":
        return None  # the model may call or answer: the engine's own parser decides
    schema = _response_schema(fields.get("response_format"))
    return None if schema is None else StructuredPlan({**schema, **_ONE_SPELLING})


def _tools(fields: Mapping[str, object]) -> list[Mapping[str, object]]:
    tools = fields.get("tools")
    if not isinstance(tools, list) or not tools:
        raise InvalidRequest("tool_choice needs tools", param="tools")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequest("every tool must be a function with a name", param="tools")
    return tools


def _name(tool: Mapping[str, object]) -> str:
    function = tool["function"]
    return str(function["name"]) if isinstance(function, Mapping) else ""


def _chosen_tools(
    choice: object, tools: list[Mapping[str, object]]
) -> tuple[list[Mapping[str, object]], str]:
    """The tools one of which must be called, and why generation then ends.

    A named tool ends with "stop", a required one with "tool_calls", as OpenAI has it. Empty
    if the choice does not force anything.
    """
    if choice == "required":
        return tools, "tool_calls"
    refused = InvalidRequest("tool_choice names no tool that was given", param="tool_choice")
    if not isinstance(choice, Mapping):
        raise refused
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        if not isinstance(allowed, Mapping) or not isinstance(allowed.get("tools"), list):
            raise refused
        if allowed.get("mode") != "required":
            return [], ""
        names = {_function_name(entry) for entry in allowed["tools"]}
        reason = "tool_calls"
    else:
        names, reason = {_function_name(choice)}, "stop"
    chosen = [tool for tool in tools if _name(tool) in names]
    if not chosen or len({_name(tool) for tool in chosen}) != len(names):
        raise refused
    return chosen, reason


def _function_name(entry: object) -> str | None:
    function = entry.get("function") if isinstance(entry, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _response_schema(wanted: object) -> Mapping[str, object] | None:
    if wanted is None:
        return None
    refused = InvalidRequest("response_format is malformed", param="response_format")
    if not isinstance(wanted, Mapping):
        raise refused
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = wanted.get("schema", _ANY_OBJECT)
    elif kind == "json_schema" and isinstance(wanted.get("json_schema"), Mapping):
        schema = wanted["json_schema"].get("schema", _ANY_OBJECT)
    else:
        raise refused
    if not isinstance(schema, Mapping):
        raise refused
    return schema


def _call_schema(tools: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """A schema that only a call of one of the tools fits; the name comes first."""
    calls: list[object] = []
    definitions: dict[str, object] = {}
    for number, tool in enumerate(tools):
        function = tool["function"]
        parameters = function.get("parameters") if isinstance(function, Mapping) else None
        schema = dict(parameters) if isinstance(parameters, Mapping) else {"type": "object"}
        # "#/$defs/X" is relative to the root, and the root is no longer this schema.
        for key in ("$defs", "definitions"):
            own = schema.pop(key, None)
            if isinstance(own, Mapping):
                moved = {f"tool{number}_{name}": value for name, value in own.items()}
                definitions |= {name: _moved(value, number) for name, value in moved.items()}
        call = {"name": {"const": _name(tool)}, "arguments": _moved(schema, number)}
        calls.append(
            {
                "type": "object",
                "properties": call,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls, **({"$defs": definitions} if definitions else {})}


def _moved(schema: object, number: int) -> object:
    """Point the references of one tool's schema to where its definitions went."""
    if isinstance(schema, list):
        return [_moved(entry, number) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: _moved(value, number) for key, value in schema.items()}
    reference = found.get("$ref")
    if isinstance(reference, str):
        found["$ref"] = re.sub(r"\A#/(?:\$defs|definitions)/", f"#/$defs/tool{number}_", reference)
    return found


def read_tool_call(text: str) -> ToolCall | None:
    """Read the call out of generated text; None if not even its name is there."""
    try:
        call = json.loads(text)
        return ToolCall(str(call["name"]), json.dumps(call["arguments"]), True)
    except (ValueError, KeyError, TypeError):
        pass
    head = _CALL_HEAD.match(text)
    if head is None:
        return None
    return ToolCall(str(json.loads(head["name"])), head["rest"], False)
