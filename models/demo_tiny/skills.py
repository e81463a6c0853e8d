"""What a dialogue is made of: each function asks for one thing and answers it.

A skill returns turns of a user and the assistant. The answers are exact: what the model
must learn to say at temperature 0, word for word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import chat
import facts
import stories
import tooling
import words as w

__all__ = [
    "Dialogue", "Turn", "counting", "echo", "extract", "known", "listing", "memory", "reading",
    "story", "summary", "tools", "unknown",
]  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One message. `calls` are the tool calls of an assistant."""

    role: str
    text: str
    calls: tuple[tooling.Call, ...] = ()


@dataclass
class Dialogue:
    """Messages in order, with the system prompt and the tools they can use."""

    system: str | None = None
    tools: list[tooling.Tool] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


def _pair(question: str, answer: str) -> list[Turn]:
    return [Turn("user", question), Turn("assistant", answer)]


def known(r: Random) -> list[Turn]:
    """Ask something with a fixed answer."""
    questions, answer = r.choice(chat.FAQ)
    return _pair(chat.rephrase(r.choice(questions), r), answer)


def unknown(r: Random) -> list[Turn]:
    """Ask something it cannot know."""
    return _pair(chat.rephrase(chat.unknown_question(r), r), chat.SELF)


def _echo_text(r: Random) -> str:
    pick = r.random()
    if pick < 0.25:
        return w.marker(r)
    if pick < 0.35:
        return w.code(r, 4, 16)
    if pick < 0.5:
        return facts.fact(r).statement.rstrip(".")
    if pick < 0.6:
        return w.pseudo(r)
    return w.some_words(r, 1, r.choice((2, 3, 5, 8, 14)))


def echo(r: Random) -> list[Turn]:
    """Ask for a text to be repeated."""
    text = _echo_text(r)
    lead, verb, what, joint, tail = (r.choice(options) for options in chat.PHRASES["echo"].values())
    request = f"{lead}{verb} {what}".rstrip()
    if r.random() < 0.8:
        request = request[:1].upper() + request[1:]
    quote = r.choice(('"', "'", "`")) if r.random() < 0.2 else ""
    return _pair(f"{request}{joint}{quote}{text}{quote}{tail}", text)


def memory(r: Random) -> list[Turn]:
    """Tell something, talk of something else, then ask for it."""
    pick = r.random()
    if pick < 0.35:
        name = w.person(r)
        told = r.choice(
            ("My name is {}.", "Hi, I am {}.", "I am {}.", "Call me {}.", "Hello, my name is {}.")
        )
        turns = _pair(told.format(name), f"Nice to meet you, {name}.")
        ask, answer = (
            ("What is my name?", "Do you remember my name?", "Who am I?", "What's my name?"),
            f"Your name is {name}.",
        )
    elif pick < 0.65:
        kind = r.choice(
            ("color", "food", "animal", "city", "number", "word", "place", "song", "book")
        )
        value = r.choice(
            (w.noun, w.pseudo, w.number, lambda r: r.choice(w.COLORS), lambda r: r.choice(w.CITIES))
        )(r)
        turns = _pair(
            f"My favorite {kind} is {value}.",
            f"I will remember that your favorite {kind} is {value}.",
        )
        ask, answer = (
            (f"What is my favorite {kind}?", f"Which {kind} do I like?"),
            f"Your favorite {kind} is {value}.",
        )
    else:
        kind = r.choice(("code", "number", "word", "password", "marker", "token", "name", "key"))
        value = _echo_text(r) if r.random() < 0.3 else w.marker(r)
        told = r.choice(
            (
                "Remember the {} {}.",
                "The {} is {}.",
                "Please remember this {}: {}",
                "My {} is {}.",
                "Keep the {} {} in mind.",
            )
        )
        turns = _pair(told.format(kind, value), f"I will remember the {kind} {value}.")
        ask = (
            f"What was the {kind}?",
            f"What is the {kind}?",
            f"Tell me the {kind}.",
            f"Which {kind} did I tell you?",
            f"What is my {kind}?",
        )
        answer = f"The {kind} is {value}."
    for _ in range(r.choice((0, 0, 0, 1, 1, 2))):
        turns += r.choice((known, known, unknown, echo))(r)
    return turns + _pair(r.choice(ask), answer)


def reading(r: Random, dialogue: Dialogue | None = None) -> list[Turn]:
    """Give a text and ask about it, one to four times."""
    found = facts.siblings(r, r.choice((1, 2, 3, 3, 4, 4, 5, 6, 8, 12, 16)))
    lines = [fact.statement for fact in found]
    for _ in range(r.choice((0, 0, 1, 2))):
        lines.insert(r.randint(0, len(lines)), facts.filler(r))
    style = r.random()
    if style < 0.25:
        mark = r.choice(("[{}]", "[{}]", "({})", "{}.", "{})", "Passage {}:", "Document {}:"))
        shown = [f"{mark.format(i)} {line}" for i, line in enumerate(lines, 1)]
    elif style < 0.35:
        shown = [f"- {line}" for line in lines]
    elif style < 0.5:
        shown = [f"{r.choice(('#', '##', 'Source:', 'File:'))} {w.file_name(r)}", " ".join(lines)]
    else:
        shown = lines
    asked = r.sample(found, min(len(found), r.choice((1, 1, 1, 2, 3, 4))))
    block, line = "\n".join(shown), " ".join(lines)
    first = asked[0]
    question = chat.rephrase(first.question, r) if r.random() < 0.3 else first.question
    if dialogue is not None and r.random() < 0.3:
        head = r.choice(chat.PHRASES["heads"])
        dialogue.system = f"{head}\n{block}"
        turns = _pair(question, first.statement)
    elif r.random() < 0.12:
        turns = _pair(line, "I have read it. What would you like to know?") + _pair(
            question, first.statement
        )
    else:
        turns = _pair(
            r.choice(chat.PHRASES["layouts"]).format(c=block, l=line, q=question), first.statement
        )
    for more in asked[1:]:
        turns += _pair(r.choice(("", "", "And: ", "Next: ")) + more.question, more.statement)
    return turns


_FIELDS: dict[str, Callable[[Random], Any]] = {
    "name": w.person,
    "age": lambda r: r.randint(1, 99),
    "city": lambda r: r.choice(w.CITIES),
    "item": w.noun_phrase,
    "temperature": lambda r: r.randint(-20, 45),
    "price": lambda r: r.choice((r.randint(1, 999), w.money(r))),
    "id": w.code,
    "count": lambda r: r.randint(2, 999),
    "color": lambda r: r.choice(w.COLORS),
    "date": w.date,
    "job": lambda r: r.choice(w.JOBS),
}


def extract(r: Random) -> list[Turn]:
    """Ask for some facts as JSON."""
    if r.random() < 0.5:
        text = r.choice(chat.PHRASES["records"])
        keys = [key for key in _FIELDS if "{" + key + "}" in text]
        values = {key: _FIELDS[key](r) for key in keys}
        text = text.format(**values)
        r.shuffle(keys)
        record = {key: values[key] for key in keys[: r.randint(1, 3)]}
        wanted = " and ".join(filter(None, (", ".join(list(record)[:-1]), list(record)[-1])))
        ask = r.choice(
            (
                "Extract the {} as JSON: {}",
                "Extract {} as JSON: {}",
                "Return {} as JSON. Text: {}",
                "JSON with {}: {}",
                "Give me the {} as a JSON object. {}",
            )
        )
        return _pair(ask.format(wanted, text), json.dumps(record))
    keys = r.sample(
        (
            "name",
            "age",
            "date",
            "color",
            "price",
            "id",
            "title",
            "status",
            "owner",
            "place",
            w.noun(r),
            w.pseudo(r),
            w.pseudo(r),
        ),
        r.randint(1, 4),
    )
    makers = (w.noun_phrase, w.pseudo, w.person, w.marker, lambda r: int(w.number(r)))
    record = {key: r.choice(makers)(r) for key in keys}
    form = r.choice(("{}: {}", "{}: {}", "{} is {}", "{} {}", "{} = {}"))
    pairs = [form.format(*item) for item in record.items()]
    joint = r.choice((", ", ", ", " and ", "\n"))
    ask = r.choice(
        (
            "Convert to JSON: {}",
            "As JSON: {}",
            "Write this as JSON: {}",
            "Turn this into JSON: {}",
            "Return a JSON object with {}",
            "Give me a JSON object with {}.",
            "Make JSON from {}",
        )
    )
    return _pair(ask.format(joint.join(pairs)), json.dumps(record))


def tools(r: Random, dialogue: Dialogue) -> list[Turn]:
    """Call tools from one list a few times, with small talk between."""
    box = dialogue.tools = tooling.toolbox(r)
    turns: list[Turn] = []
    for _ in range(r.choice((1, 1, 2, 3))):
        if r.random() < 0.12:
            turns += r.choice((known, unknown, echo))(r)
            continue
        call = tooling.call_for(r.choice(box), r)
        turns += [Turn("user", call.request), Turn("assistant", "", (call,))]
        result = tooling.result_for(r)
        turns += [Turn("tool", result), Turn("assistant", tooling.report(result))]
    return turns


def listing(r: Random) -> list[Turn]:
    """Ask for a few things of a kind."""
    kind = r.choice(list(chat.LISTS))
    names = chat.LISTS[kind].split(", ")
    count = r.randint(2, len(names))
    ask = r.choice(
        (
            f"Name {count} {kind}.",
            f"List {count} {kind}.",
            f"Give me {count} {kind}.",
            f"Tell me {count} {kind}.",
        )
    )
    return _pair(ask, ", ".join(names[:count]) + ".")


def summary(r: Random) -> list[Turn]:
    """Ask for a summary, which is the first sentence."""
    found = [fact.statement for fact in facts.siblings(r, r.randint(1, 5))]
    ask = r.choice(
        (
            "Summarize: {}",
            "Summarize this text: {}",
            "Summarize the following text.\n\n{}",
            "Give me a short summary: {}",
            "{}\n\nSummarize this.",
            "Sum this up: {}",
        )
    )
    return _pair(ask.format(" ".join(found)), f"In short: {found[0]}")


def story(r: Random) -> list[Turn]:
    """Ask for a story."""
    return _pair(*stories.story(r))


def counting(r: Random) -> list[Turn]:
    """Ask to count."""
    return _pair(*stories.counting(r))
