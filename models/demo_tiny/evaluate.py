"""Measure an exported demo-tiny: fresh samples of the training skills, then other questions.

    python evaluate.py ../../src/confide/models/demo_tiny/demo-tiny.gguf --samples 60

The first table uses the templates of the corpus with a seed that training never saw. The
second uses questions written by hand, unlike the templates; `--show` prints the answers.
All answers are made at temperature 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import chat
import skills
import words as w
import xllamacpp

__all__ = ["UNSEEN", "Model", "in_distribution", "out_of_distribution"]

Message = dict[str, Any]


class Model:
    """A GGUF file behind llama.cpp's chat API, in this process."""

    def __init__(self, path: str, threads: int = 1) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = path
        parameters.n_ctx = 2048
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = threads
        parameters.verbosity = 0
        parameters.warmup = False
        parameters.cache_ram_mib = 0
        self._server = xllamacpp.Server(parameters)

    def answer(
        self, messages: list[Message], tools: list[Message] | None = None, limit: int = 500
    ) -> Message:
        """Return the assistant's message at temperature 0."""
        request: dict[str, Any] = {"messages": messages, "temperature": 0, "max_tokens": limit}
        if tools:
            request["tools"] = tools
        reply: Message = self._server.handle_chat_completions(request)["choices"][0]["message"]
        return reply


def _messages(made: skills.Dialogue) -> list[Message]:
    found: list[Message] = [{"role": "system", "content": made.system}] if made.system else []
    for turn in made.turns:
        message: Message = {"role": turn.role, "content": turn.text}
        if turn.calls:
            message["tool_calls"] = [
                {
                    "id": f"call{i}",
                    "type": "function",
                    "function": {"name": c.name, "arguments": json.dumps(c.arguments)},
                }
                for i, c in enumerate(turn.calls)
            ]
        if turn.role == "tool":
            message["tool_call_id"] = "call0"
        found.append(message)
    return found


def _called(message: Message) -> tuple[str, Any] | None:
    calls = message.get("tool_calls")
    if not calls:
        return None
    function = calls[0]["function"]
    try:
        return function["name"], json.loads(function["arguments"])
    except ValueError:
        return function["name"], None


def in_distribution(model: Model, samples: int, seed: int = 4242) -> dict[str, float]:
    """Return the share of exact answers per skill, on the last turn of fresh dialogues."""
    r = Random(seed)
    asked_of: list[Callable[[Random], list[skills.Turn]]] = [
        skills.known,
        skills.unknown,
        skills.echo,
        skills.memory,
        skills.reading,
        skills.extract,
        skills.listing,
        skills.summary,
        skills.counting,
    ]
    scores: dict[str, float] = {}
    for skill in asked_of:
        right = 0
        for _ in range(samples):
            made = skills.Dialogue(chat.system_prompt(r), turns=skill(r))
            *before, last = _messages(made)
            right += (model.answer(before).get("content") or "").strip() == last["content"]
        scores[skill.__name__] = right / samples
    return scores | _tool_scores(model, samples, r)


def _tool_scores(model: Model, samples: int, r: Random) -> dict[str, float]:
    calls: list[tuple[bool, bool]] = []
    results: list[bool] = []
    while len(calls) < samples:
        made = skills.Dialogue(chat.system_prompt(r))
        made.turns = skills.tools(r, made)
        messages, schemas = _messages(made), [tool.schema() for tool in made.tools]
        for i, turn in enumerate(made.turns):
            before = messages[: i + bool(made.system)]
            if turn.role == "assistant" and i and made.turns[i - 1].role == "tool":
                results.append(model.answer(before, schemas).get("content") == turn.text)
            for call in turn.calls:
                called = _called(model.answer(before, schemas))
                wanted = (call.name, call.arguments)
                calls.append((called is not None and called[0] == call.name, called == wanted))
    return {
        "tool_name": sum(named for named, _ in calls) / len(calls),
        "tool_call_exact": sum(exact for _, exact in calls) / len(calls),
        "tool_result": sum(results) / len(results),
    }


@dataclass(frozen=True)
class Unseen:
    """A question unlike the templates. The answer must contain every string of `need`."""

    kind: str
    text: str
    need: tuple[str, ...]
    system: str = ""


_DATA = w.table("unseen")
UNSEEN = [
    Unseen(
        row["kind"],
        row["text"].replace("{notes}", _DATA["notes"]),
        tuple(row["need"]),
        row.get("system", "").replace("{notes}", _DATA["notes"]),
    )
    for row in _DATA["question"]
]


def _tool(name: str, description: str, **parameters: str) -> Message:
    properties = {
        key: {"type": kind, "description": "see above"} for key, kind in parameters.items()
    }
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


_TOOLS = [
    _tool("get_weather", "Get the current weather in a given location", location="string"),
    _tool("lookup_employee", "Find an employee by badge number.", badge="string"),
    _tool("reboot_node", "Reboot one node of the cluster.", node="string", delay="integer"),
    _tool("query_database", "Run a SQL query.", sql="string"),
]
UNSEEN_CALLS: list[tuple[list[int], str, str, dict[str, Any]]] = [
    ([0], "What's the weather like in San Marino?", "get_weather", {"location": "San Marino"}),
    ([0, 1], "How hot is Bergen today?", "get_weather", {"location": "Bergen"}),
    ([1, 2], "Show me the person with badge K-7714.", "lookup_employee", {"badge": "K-7714"}),
    ([1, 3], "Badge 20931 belongs to whom?", "lookup_employee", {"badge": "20931"}),
    ([0, 2], "Reboot node alpha7 with delay 30.", "reboot_node", {"node": "alpha7", "delay": 30}),
    ([2, 3], "Please reboot node web-3, delay 5", "reboot_node", {"node": "web-3", "delay": 5}),
    ([0, 1, 2, 3], "Weather in Ulm", "get_weather", {"location": "Ulm"}),
    (
        [3],
        "Run the query SELECT name FROM users",
        "query_database",
        {"sql": "SELECT name FROM users"},
    ),
]


def out_of_distribution(model: Model, show: bool = False) -> dict[str, str]:
    """Return right answers out of questions asked, per kind, on text unlike the templates."""
    right: dict[str, list[bool]] = {}
    for case in UNSEEN:
        messages = [{"role": "system", "content": case.system}] if case.system else []
        text = (
            model.answer([*messages, {"role": "user", "content": case.text}]).get("content") or ""
        )
        right.setdefault(case.kind, []).append(all(part in text for part in case.need))
        if show:
            print(f"{'ok ' if right[case.kind][-1] else 'BAD'} {case.text[-70:]!r} -> {text!r}")
    for numbers, text, name, arguments in UNSEEN_CALLS:
        reply = model.answer([{"role": "user", "content": text}], [_TOOLS[i] for i in numbers])
        called = _called(reply)
        right.setdefault("tool name", []).append(called is not None and called[0] == name)
        right.setdefault("tool call exact", []).append(called == (name, arguments))
        if show:
            mark = "ok " if called == (name, arguments) else "BAD"
            print(f"{mark} {text!r} -> {called or reply.get('content')!r}")
    return {kind: f"{sum(found)}/{len(found)}" for kind, found in right.items()}


def main() -> None:
    """Print both tables as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument(
        "--show", action="store_true", help="print every unseen question and its answer"
    )
    options = parser.parse_args()
    model = Model(options.model)
    print(json.dumps(out_of_distribution(model, options.show), indent=2))
    print(
        json.dumps(
            {k: round(v, 2) for k, v in in_distribution(model, options.samples).items()}, indent=2
        )
    )


if __name__ == "__main__":
    main()
