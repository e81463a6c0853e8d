"""Tools, requests that call them, and what to say about their results.

Three in five tools have invented names and arguments, so that the model learns to take
both from the tool list in front of it. A result is reported in one fixed form, because
copying a result is within reach of a small model and rephrasing it is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import words as w

__all__ = ["Call", "Tool", "call_for", "family_tools", "report", "result_for", "toolbox"]


@dataclass(frozen=True)
class Tool:
    """A function the model may call, with ways in which a user asks for it."""

    name: str
    description: str
    parameters: dict[str, str]
    """Argument name to JSON type."""
    kinds: dict[str, str]
    """Argument name to the kind of value, a key of `_VALUES`."""
    requests: tuple[str, ...]
    optional: tuple[str, ...] = ()
    """Arguments that the tool also takes, as strings, and that no request gives."""
    loose: tuple[str, ...] = ()
    """Those of `parameters` that may be left out, although the requests give them."""

    def schema(self) -> dict[str, Any]:
        """Return the tool as the chat API describes it."""
        properties = {name: {"type": kind} for name, kind in self.parameters.items()}
        required = [name for name in properties if name not in self.loose]
        properties |= {name: {"type": "string"} for name in self.optional}
        parameters = {"type": "object", "properties": properties, "required": required}
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Call:
    """One request in words, and the call that serves it."""

    request: str
    name: str
    arguments: dict[str, Any]


_VALUES = {
    "city": w.city,
    "path": w.path,
    "command": w.command,
    "person": w.person,
    "thing": w.noun_phrase,
    "noun": w.noun,
    "words": lambda r: w.some_words(r, 1, 4),
    "file": w.file_name,
    "code": w.code,
    "marker": w.marker,
    "date": w.date,
    "time": w.time_of_day,
    "int": lambda r: int(w.number(r)),
    "small": lambda r: r.randint(0, 99),
    "float": lambda r: r.randint(0, 9999) / 10,
    "bool": lambda r: r.random() < 0.5,
    "color": lambda r: r.choice(w.COLORS),
    "host": lambda r: r.choice(
        (
            w.pseudo(r),
            w.noun(r),
            f"{w.noun(r)}-{r.randint(1, 9)}",
            f"{w.pseudo(r)}{r.randint(1, 99)}",
        )
    ),
    "sql": lambda r: r.choice(
        (
            "SELECT {} FROM {}",
            "SELECT {} FROM {} LIMIT 5",
            "DELETE FROM {1}",
            "SELECT * FROM {}s",
            "COUNT {}",
        )
    ).format(w.noun(r), w.noun(r)),
    "sum": lambda r: f"{w.number(r)} {r.choice('+-*/')} {w.number(r)}",
    "level": lambda r: r.choice(("low", "medium", "high", "urgent")),
    "pseudo": w.pseudo,
    "email": lambda r: f"{w.pseudo(r)}@{w.pseudo(r)}.org",
    "url": lambda r: f"https://{w.pseudo(r)}.org/{w.noun(r)}",
    "unit": lambda r: r.choice(("celsius", "fahrenheit", "kelvin")),
}
_TYPES = {"int": "integer", "small": "integer", "float": "number", "bool": "boolean"}

# name | description | argument:kind ... | requests separated by ";"
_DATA = w.table("tools")
_DO: list[str] = _DATA["verbs"].split()
_ARGUMENTS: list[tuple[str, list[str]]] = list(_DATA["arguments"].items())


def _family(row: dict[str, Any]) -> Tool:
    types = {key: _TYPES.get(kind, "string") for key, kind in row["arguments"].items()}
    return Tool(row["name"], row["description"], types, row["arguments"], tuple(row["requests"]))


_TOOLS = [_family(row) for row in _DATA["tool"]]


def family_tools() -> list[Tool]:
    """Return the tools with ordinary names."""
    return list(_TOOLS)


def _join(r: Random, verb: str, thing: str) -> str:
    thing = thing.replace(" ", "_")
    joined = f"{verb}_{thing}"
    if r.random() < 0.2:
        joined = verb + "".join(part.title() for part in thing.split("_"))
    return joined


def _renamed(tool: Tool, r: Random) -> Tool:
    """Give an ordinary tool another name and other argument names."""
    new = {
        old: (w.pseudo(r) if r.random() < 0.4 else r.choice(_ARGUMENTS)[0]) for old in tool.kinds
    }
    if len(set(new.values())) < len(new) or r.random() < 0.3:
        new = {old: old for old in tool.kinds}
    requests = tuple(
        text.format(**{old: "{" + name + "}" for old, name in new.items()})
        for text in tool.requests
    )
    name = _join(r, r.choice(_DO), w.noun(r)) if r.random() < 0.7 else w.pseudo(r)
    parameters = {new[old]: kind for old, kind in tool.parameters.items()}
    return Tool(
        name, tool.description, parameters, {new[o]: k for o, k in tool.kinds.items()}, requests
    )


def _invented(r: Random) -> Tool:
    """Make up a tool from a verb, a thing and zero to three arguments."""
    verb, thing = r.choice(_DO), w.noun_phrase(r) if r.random() < 0.5 else w.noun(r)
    chosen = r.sample(_ARGUMENTS, r.choice((0, 1, 1, 1, 1, 2, 2, 2, 3)))
    kinds = {
        (w.pseudo(r) if r.random() < 0.3 else name): r.choice(options) for name, options in chosen
    }
    types = {key: _TYPES.get(kind, "string") for key, kind in kinds.items()}
    name = _join(r, verb, thing)
    say = verb.title()
    keys = list(kinds)
    if not keys:
        requests = (
            f"{say} the {thing}.",
            f"Please {verb} the {thing}.",
            f"Use {name}.",
            f"Call {name}.",
        )
    elif len(keys) == 1:
        slot = "{" + keys[0] + "}"
        requests = (
            f"{say} {thing} {slot}",
            f"{say} the {thing} for {slot}.",
            f"Please {verb} the {thing} of {slot}.",
            f"{say} the {thing} with {keys[0]} {slot}.",
            f"Use {name} with {slot}.",
            f"{say} {slot}",
            f"Can you {verb} the {thing} {slot}?",
            f"Call {name} with {keys[0]}={slot}",
            f"Who has {thing} {slot}?",
            f"{say} the {thing} whose {keys[0]} is {slot}.",
            f"What is the {thing} of {slot}?",
            f"I need the {thing} for {slot}.",
            f"Is there a {thing} in {slot}?",
            f"Could you {verb} {slot} please?",
            f"{slot} {thing}",
            f"Which {thing} does {slot} have?",
            f"Do I need a {thing} for {slot}?",
        )
    else:
        pairs = [f"{key} {{{key}}}" for key in keys]
        listed = ", ".join(pairs[:-1]) + " and " + pairs[-1]
        requests = (
            f"{say} the {thing} with {listed}.",
            f"Please {verb} the {thing}, {', '.join(pairs)}.",
            f"Call {name} with " + ", ".join(f"{key}={{{key}}}" for key in keys),
            f"{say} {thing}: " + ", ".join(pairs),
            f"Use {name} for " + " and ".join(f"{{{key}}}" for key in keys),
        )
    description = r.choice(
        (
            f"{say} the {thing}.",
            f"{say} a {thing}.",
            f"Tool to {verb} the {thing}.",
            f"{say} the {thing} by {keys[0] if keys else 'default'}.",
            f"{say}s the {thing} of the user. Use it when asked.",
            "",
        )
    )
    return Tool(name, description, types, kinds, tuple(requests))


def toolbox(r: Random) -> list[Tool]:
    """Return one to four tools with different names and descriptions."""
    found: dict[str, Tool] = {}
    for _ in range(r.choice((1, 1, 1, 2, 2, 3, 3, 4))):
        pick = r.random()
        tool = (
            r.choice(_TOOLS)
            if pick < 0.4
            else _renamed(r.choice(_TOOLS), r)
            if pick < 0.65
            else _invented(r)
        )
        if r.random() < 0.25:
            spare = ("timeout", "limit", "format", "verbose", "description", "offset", w.pseudo(r))
            extra = tuple(
                x for x in r.sample(spare, r.choice((1, 1, 2))) if x not in tool.parameters
            )
            loose = tuple(r.sample(list(tool.parameters), 1)) if tool.parameters else ()
            tool = replace(tool, optional=extra, loose=loose if r.random() < 0.4 else ())
        if tool.description not in {other.description for other in found.values()}:
            found.setdefault(tool.name, tool)
    return list(found.values())


def call_for(tool: Tool, r: Random) -> Call:
    """Return a user's request for `tool` and the matching call."""
    arguments = {key: _VALUES[kind](r) for key, kind in tool.kinds.items()}
    shown = {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in arguments.items()
    }
    request = r.choice(tool.requests).format(**shown)
    if r.random() < 0.15:
        request = r.choice(("Please ", "Now ", "Hi! ", "OK, ")) + request
    return Call(request, tool.name, arguments)


def result_for(r: Random) -> str:
    """Return what a tool might answer: a flat JSON object, a text, or an error."""
    kind = r.random()
    if kind < 0.1:
        return json.dumps({"error": w.some_words(r, 1, 3)})
    if kind < 0.4:
        return w.some_words(r, 1, 6)
    keys = r.sample(
        (
            "temperature",
            "sky",
            "result",
            "status",
            "time",
            "name",
            "price",
            "unit",
            "total",
            "date",
            "city",
            "id",
            "text",
            "state",
            "level",
            w.noun(r),
            w.pseudo(r),
        ),
        r.choice((1, 1, 2, 2, 3)),
    )
    kinds = ("int", "small", "float", "thing", "words", "noun", "time", "pseudo", "code", "city")
    return json.dumps({key: _VALUES[r.choice(kinds)](r) for key in keys})


def report(result: str) -> str:
    """Say what a tool returned.

    >>> report('{"temperature": 21, "sky": "sunny"}')
    'The result is: temperature 21, sky sunny.'
    >>> report("done")
    'The result is: done.'
    """
    try:
        value = json.loads(result)
    except ValueError:
        value = result
    if not isinstance(value, dict):
        return f"The result is: {result}."
    if "error" in value:
        return f"The tool failed: {value['error']}."
    if list(value) == ["result"]:
        return f"The result is: {value['result']}."
    return "The result is: " + ", ".join(f"{key} {item}" for key, item in value.items()) + "."
