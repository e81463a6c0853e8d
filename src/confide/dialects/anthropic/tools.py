"""Tools: definitions, choice and names.

Anthropic allows names of 128 characters, OpenAI 64. A longer one, or one with other
characters, is cut, marked with a digest, and mapped back in answers.

Source: Anthropic API reference, tool definitions and `tool_choice`; OpenAI API reference,
function tools.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confide.dialects.anthropic.fields import (
    Fields,
    at,
    kind_of,
    member_list,
    member_object,
    member_text,
)

__all__ = ["ToolNames", "function_tools", "short_name", "tool_choice"]

_KEPT: Final = 55  # characters of a longer name; nine more are "_" and eight of a digest
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_-]", re.ASCII)
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def short_name(name: str) -> str:
    """The name an engine gets: the same name always gives the same one."""
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_OTHER.sub('_', name)[:_KEPT]}_{digest}"


@dataclass(frozen=True)
class ToolNames:
    """The names of one request's tools, to map answers back.

    Attributes:
        original: Name the engine knows -> name the client gave.
    """

    original: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Iterable[str]) -> ToolNames:
        """Map these names."""
        return cls({short_name(name): name for name in names})

    def restore(self, name: str) -> str:
        """The client's name for a tool the engine calls."""
        return self.original.get(name, name)


def function_tools(given: object) -> tuple[list[dict[str, Any]], ToolNames]:
    """Translate the list of tools.

    Raises:
        InvalidRequest: A definition is malformed, a name occurs twice, or a tool is one that
            Anthropic's own servers run.
    """
    if given is None:
        return [], ToolNames()
    found, names = [], []
    for number, entry in enumerate(member_list(given, "tools")):
        place = f"tools.{number}."
        tool = member_object(entry, place[:-1])
        name = member_text(tool, "name", place)
        if "input_schema" not in tool:
            kind = kind_of(tool)
            what = (
                "input_schema is required"
                if kind in ("unknown", "custom")
                else (f"the tool type {kind} runs on Anthropic's servers and is not offered here")
            )
            raise at(place[:-1], what)
        if name in names:
            raise at(place + "name", "tool names must be unique")
        names.append(name)
        found.append(_function(tool, name, place))
    return found, ToolNames.of(names)


def _function(tool: Fields, name: str, place: str) -> dict[str, Any]:
    schema = dict(member_object(tool["input_schema"], place + "input_schema"))
    if not isinstance(schema.get("type"), str):
        schema["type"] = "object"
    function: dict[str, Any] = {"name": short_name(name), "parameters": schema}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def tool_choice(given: object, names: ToolNames) -> dict[str, Any]:
    """Translate the choice into `tool_choice` and `parallel_tool_calls`.

    Raises:
        InvalidRequest: Malformed, or it names a tool that is not in the list.
    """
    if given is None:
        return {}
    choice = member_object(given, "tool_choice")
    fields: dict[str, Any] = {}
    kind = choice.get("type")
    if kind == "tool":
        name = member_text(choice, "name", "tool_choice.")
        if name not in names.original.values():
            raise at("tool_choice.name", "no tool in the list has this name")
        fields["tool_choice"] = {"type": "function", "function": {"name": short_name(name)}}
    elif isinstance(kind, str) and kind in _CHOICES:
        if kind == "any" and not names.original:
            raise at("tool_choice", "there are no tools to choose from")
        fields["tool_choice"] = _CHOICES[kind]
    else:
        raise at("tool_choice.type", "must be auto, any, tool or none")
    if not names.original:
        return {}
    if choice.get("disable_parallel_tool_use") is True and kind != "none":
        fields["parallel_tool_calls"] = False
    return fields
