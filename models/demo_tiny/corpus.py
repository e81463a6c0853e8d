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
from random import Random

import chat
import skills
import tooling
from skills import Dialogue, Turn

__all__ = ["dialogue", "dialogues", "digest", "render"]

END = "<|im_end|>"


_SKILLS: list[tuple[Callable[[Random], list[Turn]], float]] = [
    (skills.known, 16),
    (skills.unknown, 10),
    (skills.echo, 14),
    (skills.memory, 7),
    (skills.reading, 21),
    (skills.extract, 5),
    (skills.listing, 1.5),
    (skills.summary, 1.5),
    (skills.story, 2.5),
    (skills.counting, 2.5),
]
"""What may come up, and how often against the others."""
_TOOLS_SHARE = 0.22


def dialogue(r: Random) -> Dialogue:
    """Make one dialogue of one to five skills, or one around tools."""
    made = Dialogue(system=chat.system_prompt(r))
    if r.random() < _TOOLS_SHARE:
        made.turns = skills.tools(r, made)
        return made
    choices, weights = zip(*_SKILLS, strict=True)
    chosen = r.choices(choices, weights, k=r.choice((1, 1, 1, 2, 2, 3, 3, 5)))
    for i, skill in enumerate(chosen):
        at_start = skill is skills.reading and i == 0
        made.turns += skills.reading(r, made) if at_start else skill(r)
    return made


def _signature(tool: tooling.Tool) -> str:
    arguments = [
        f"{key}{'?' * (key in tool.loose)}: {kind}" for key, kind in tool.parameters.items()
    ]
    arguments += [f"{key}?: string" for key in tool.optional]
    return f"{tool.name}({', '.join(arguments)}) {tool.description}"


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
            pieces.append(
                (f"<|im_start|>user\n<tool_response>\n{turn.text}\n</tool_response>{END}\n", False)
            )
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
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
