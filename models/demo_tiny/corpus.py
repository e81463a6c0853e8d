"""Make the training dialogues of demo-tiny from a seed, with the standard library only.

Every dialogue is a chain of skills (chat, echo, memory, facts in a text, tools, stories,
counting, JSON). The same seed gives the same dialogues on every machine; a test checks
the hash of the first ones.

    python corpus.py --seed 20 --count 3      # print three dialogues
    python corpus.py --seed 20 --count 1000 --hash
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import chat
import facts
import stories
import tooling
import words as w

__all__ = ["Dialogue", "Turn", "dialogue", "dialogues", "digest", "render"]

END = "<|im_end|>"


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


def _vary(text: str, r: Random) -> str:
    pick = r.random()
    if pick < 0.15:
        text = text.lower()
    elif pick < 0.25:
        text = text.rstrip("?.!")
    elif pick < 0.33:
        text = r.choice(("Please tell me: ", "Hi! ", "Hello, ", "Question: ", "Hey, ", "So, ")) + text
    elif pick < 0.37:
        text += r.choice((" Please.", " Thanks.", " Answer briefly."))
    return text


def known(r: Random) -> list[Turn]:
    """Ask something with a fixed answer."""
    questions = r.choice(list(chat.FAQ))
    return _pair(_vary(r.choice(questions.split("|")), r), chat.FAQ[questions])


def unknown(r: Random) -> list[Turn]:
    """Ask something it cannot know."""
    return _pair(_vary(chat.unknown_question(r), r), chat.SELF)


_ECHO = """Repeat: {}|Repeat after me: {}|Say {}|Say: {}|Say "{}".|Echo {}|Echo this: {}|Please repeat {}|
Reply with exactly {}|Reply with exactly: {}|Reply only with {}|Respond with {}|Just say {}|Output {}|
Answer with {} and nothing else.|Please say the words {}|Write {}|Print {}|Repeat the following text: {}|
Repeat this word: {}|Say the marker {} back to me.|Please answer only: {}|Repeat exactly: "{}"|
Please repeat this text word for word: {}|Copy this: {}|Reply with the single word {}.|Send back {}|
Repeat "{}" please.|Can you say {}?|Can you repeat "{}"?|Type {}|Return this text: {}|Answer: {}""".replace("\n", "").split("|")


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
    frame = r.choice(_ECHO)
    return _pair((frame.lower() if r.random() < 0.1 else frame).format(text), text)


def memory(r: Random) -> list[Turn]:
    """Tell something, talk of something else, then ask for it."""
    pick = r.random()
    if pick < 0.35:
        name = w.person(r)
        told = r.choice(("My name is {}.", "Hi, I am {}.", "I am {}.", "Call me {}.", "Hello, my name is {}."))
        turns = _pair(told.format(name), f"Nice to meet you, {name}.")
        ask, answer = ("What is my name?", "Do you remember my name?", "Who am I?", "What's my name?"), f"Your name is {name}."
    elif pick < 0.65:
        kind = r.choice(("color", "food", "animal", "city", "number", "word", "place", "song", "book"))
        value = r.choice((w.noun, w.pseudo, w.number, lambda r: r.choice(w.COLORS), lambda r: r.choice(w.CITIES)))(r)
        turns = _pair(f"My favorite {kind} is {value}.", f"I will remember that your favorite {kind} is {value}.")
        ask, answer = (f"What is my favorite {kind}?", f"Which {kind} do I like?"), f"Your favorite {kind} is {value}."
    else:
        kind = r.choice(("code", "number", "word", "password", "marker", "token", "name", "key"))
        value = _echo_text(r) if r.random() < 0.3 else w.marker(r)
        told = r.choice(("Remember the {} {}.", "The {} is {}.", "Please remember this {}: {}", "My {} is {}.", "Keep the {} {} in mind."))
        turns = _pair(told.format(kind, value), f"I will remember the {kind} {value}.")
        ask = (f"What was the {kind}?", f"What is the {kind}?", f"Tell me the {kind}.", f"Which {kind} did I tell you?", f"What is my {kind}?")
        answer = f"The {kind} is {value}."
    for _ in range(r.choice((0, 0, 0, 1, 1, 2))):
        turns += r.choice((known, known, unknown, echo))(r)
    return turns + _pair(r.choice(ask), answer)


_LAYOUTS = ("Context:\n{c}\n\nQuestion: {q}", "{c}\n\n{q}", "{l} {q}", "{q}\n\n{c}", "{q}\n\nContext:\n{c}",
            "<context>\n{c}\n</context>\n{q}", "Use the following passages to answer.\n{c}\n\n{q}", "Text: {l}\nQuestion: {q}",
            "Answer the question using only the text below.\n\n{c}\n\nQuestion: {q}\nAnswer:", "Documents:\n{c}\n\n{q}",
            "Read this: {l}\n{q}", "Here are my notes.\n{c}\n{q}", "Context: {l}\n\nQuestion: {q}")  # fmt: skip


def reading(r: Random, dialogue: Dialogue | None = None) -> list[Turn]:
    """Give a text and ask about it, one to four times."""
    found = facts.siblings(r, r.choice((1, 2, 3, 3, 4, 4, 5, 6, 8)))
    lines = [fact.statement for fact in found]
    for _ in range(r.choice((0, 0, 1, 2))):
        lines.insert(r.randint(0, len(lines)), facts.filler(r))
    style = r.random()
    if style < 0.25:
        shown = [f"[{i}] {line}" for i, line in enumerate(lines, 1)]
    elif style < 0.35:
        shown = [f"- {line}" for line in lines]
    elif style < 0.5:
        shown = [f"{r.choice(('#', '##', 'Source:', 'File:'))} {w.file_name(r)}", " ".join(lines)]
    else:
        shown = lines
    asked = r.sample(found, min(len(found), r.choice((1, 1, 1, 2, 3, 4))))
    block, line = "\n".join(shown), " ".join(lines)
    first = asked[0]
    question = _vary(first.question, r) if r.random() < 0.3 else first.question
    if dialogue is not None and r.random() < 0.3:
        head = r.choice(("Answer from this context.", "Use these passages.", "Context:", "You are a helpful assistant.", "Answer using only the context below."))
        dialogue.system = f"{head}\n{block}"
        turns = _pair(question, first.statement)
    elif r.random() < 0.12:
        turns = _pair(line, "I have read it. What would you like to know?") + _pair(question, first.statement)
    else:
        turns = _pair(r.choice(_LAYOUTS).format(c=block, l=line, q=question), first.statement)
    for more in asked[1:]:
        turns += _pair(r.choice(("", "", "And: ", "Next: ")) + more.question, more.statement)
    return turns


def extract(r: Random) -> list[Turn]:
    """Ask for some facts as JSON."""
    if r.random() < 0.4:
        name, city, age = w.person(r), r.choice(w.CITIES), r.randint(1, 99)
        text = r.choice((f"{name} is {age} years old and lives in {city}.", f"{name}, {age}, from {city}.", f"In {city} lives {name}, aged {age}."))
        record: dict[str, Any] = {"name": name, "city": city, "age": age}
        ask = r.choice(("Extract the name, city and age as JSON: {}", "Return name, city and age as JSON. Text: {}", "JSON with name, city, age: {}"))
        return _pair(ask.format(text), json.dumps(record))
    keys = r.sample(("name", "date", "color", "price", "id", "title", "status", "owner", "place", w.noun(r), w.pseudo(r), w.pseudo(r)), r.randint(1, 4))
    record = {key: r.choice((w.noun_phrase, w.pseudo, w.person, w.marker, lambda r: int(w.number(r))))(r) for key in keys}
    pairs = [r.choice(("{}: {}", "{}: {}", "{} is {}")).format(*item) for item in record.items()]
    ask = r.choice(("Convert to JSON: {}", "As JSON: {}", "Write this as JSON: {}", "Turn this into JSON: {}", "Return a JSON object for {}"))
    return _pair(ask.format(", ".join(pairs)), json.dumps(record))


def tools(r: Random, dialogue: Dialogue) -> list[Turn]:
    """Call tools from one list a few times, with small talk between."""
    box = dialogue.tools = tooling.toolbox(r)
    turns: list[Turn] = []
    for _ in range(r.choice((1, 1, 2, 3))):
        if r.random() < 0.12:
            turns += r.choice((known, known, echo))(r)
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
    ask = r.choice((f"Name {count} {kind}.", f"List {count} {kind}.", f"Give me {count} {kind}.", f"Tell me {count} {kind}."))
    return _pair(ask, ", ".join(names[:count]) + ".")


def sums(r: Random) -> list[Turn]:
    """Ask for a sum of two small numbers."""
    a, b = r.randint(0, 10), r.randint(0, 10)
    ask = r.choice((f"What is {a} + {b}?", f"What is {a} plus {b}?", f"{a} + {b}", f"Compute {a} + {b}.", f"What is {a}+{b}?"))
    return _pair(ask, f"{a} + {b} = {a + b}")


def story(r: Random) -> list[Turn]:
    """Ask for a story."""
    return _pair(*stories.story(r))


def counting(r: Random) -> list[Turn]:
    """Ask to count."""
    return _pair(*stories.counting(r))


_SKILLS: list[tuple[Callable[[Random], list[Turn]], float]] = [
    (known, 15), (unknown, 11), (echo, 15), (memory, 8), (reading, 19), (extract, 4), (listing, 1),
    (sums, 2), (story, 3), (counting, 2.5),
]  # fmt: skip
_TOOLS_SHARE = 0.22


def dialogue(r: Random) -> Dialogue:
    """Make one dialogue of one to four skills."""
    made = Dialogue(system=chat.system_prompt(r))
    if r.random() < _TOOLS_SHARE:
        made.turns = tools(r, made)
        return made
    skills, weights = zip(*_SKILLS, strict=True)
    chosen = r.choices(skills, weights, k=r.choice((1, 1, 1, 2, 2, 3)))
    for i, skill in enumerate(chosen):
        made.turns += reading(r, made) if skill is reading and i == 0 else skill(r)
    return made


def _signature(tool: tooling.Tool) -> str:
    arguments = ", ".join(f"{key}: {kind}" for key, kind in tool.parameters.items())
    return f"{tool.name}({arguments}) {tool.description}"


def render(made: Dialogue) -> list[tuple[str, bool]]:
    """Write a dialogue as the chat template of the model does.

    Returns:
        Pieces of text; True for those that the model must learn to write.
    """
    head = made.system or ""
    if made.tools:
        listed = "\n".join(_signature(tool) for tool in made.tools)
        head += ("\n\n" if head else "") + f"<tools>\n{listed}\n</tools>"
    pieces = [(f"<|im_start|>system\n{head}{END}\n", False)] if head else []
    for turn in made.turns:
        if turn.role == "assistant":
            calls = [json.dumps({"name": c.name, "arguments": c.arguments}) for c in turn.calls]
            body = turn.text + "".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
            pieces += [("<|im_start|>assistant\n", False), (body + END, True), ("\n", False)]
        elif turn.role == "tool":
            pieces.append((f"<|im_start|>user\n<tool_response>\n{turn.text}\n</tool_response>{END}\n", False))
        else:
            pieces.append((f"<|im_start|>user\n{turn.text}{END}\n", False))
    return pieces


def dialogues(seed: int) -> Iterator[Dialogue]:
    """Yield dialogues for ever."""
    r = Random(seed)
    while True:
        yield dialogue(r)


def digest(seed: int, count: int) -> str:
    """Return the SHA-256 of the first `count` rendered dialogues, in hexadecimal."""
    running = hashlib.sha256()
    for _, made in zip(range(count), dialogues(seed), strict=False):
        running.update("".join(text for text, _ in render(made)).encode() + b"\0")
    return running.hexdigest()


def main() -> None:
    """Print dialogues, or the hash of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--hash", action="store_true")
    options = parser.parse_args()
    if options.hash:
        print(digest(options.seed, options.count))
        return
    for _, made in zip(range(options.count), dialogues(options.seed), strict=False):
        print("".join(text for text, _ in render(made)) + "\n-----")


if __name__ == "__main__":
    main()
