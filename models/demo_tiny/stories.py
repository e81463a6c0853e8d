"""Short and long stories, and counting: answers whose length the user chooses.

A story of "Chapter 1." to "Chapter n." keeps a small model on track for hundreds of tokens;
every sentence names the hero, who is copied from the request.
"""

from __future__ import annotations

from random import Random

import words as w

__all__ = ["chapter", "counting", "story"]

_DATA = w.table("stories")
_OPENINGS: list[str] = _DATA["openings"]["any"]
_SCENES: list[list[list[str]]] = [
    [scene["first"], scene["second"], scene["third"]] for scene in _DATA["scene"]
]


def chapter(r: Random, scene: int, names: dict[str, str]) -> str:
    """Return three sentences of one scene."""
    return " ".join(r.choice(options).format(**names) for options in _SCENES[scene])


def _asked(ask: str, about: str) -> str:
    return ask.format(about) if about else ask.replace(" about {}", "")


_SPELLED = {5: "five", 10: "ten", 20: "twenty", 30: "thirty", 50: "fifty"}


def story(r: Random) -> tuple[str, str]:
    """Return a request for a story and the story, short or in chapters."""
    animal = w.pseudo(r) if r.random() < 0.15 else r.choice(w.ANIMALS)
    hero = r.choice(w.NAMES)
    names = {
        "a": animal,
        "h": hero,
        "o": r.choice(("small", "old", "kind", "young", "clever")),
        "p": r.choice(w.PLACES[:12]),
        "q": r.choice(w.PLACES[:12]),
        "f": r.choice(w.FOODS),
        "c": r.choice(w.COLORS),
        "b": r.choice(w.ANIMALS),
        "d": r.choice(w.ANIMALS),
    }
    about = f"a {animal}"
    if r.random() < 0.4:
        about += f" named {hero}"
    else:
        # Without a name in the request the hero follows from the animal: less to guess.
        names["h"] = w.NAMES[sum(animal.encode()) % len(w.NAMES)]
    opening = r.choice(_OPENINGS).format(**names)
    if r.random() < 0.1:
        # No hero asked for: always the same fox.
        about = ""
        names |= {"a": "fox", "h": "Nora", "o": "small"}
        opening = _OPENINGS[0].format(**names)
    if r.random() < 0.5:
        ask = r.choice(
            (
                "Tell me a story about {}.",
                "Write a short story about {}.",
                "Tell me a short story about {}.",
                "A story about {}, please.",
                "Write a story about {}.",
            )
        )
        scenes = [0, r.choice((1, 2, 3)), 5]
        return _asked(ask, about), " ".join(
            [opening, *(chapter(r, scene, names) for scene in scenes)]
        )
    ask = r.choice(
        (
            "Tell me a long story about {}.",
            "Write a long story about {}.",
            "Write a very long story about {}.",
            "Please tell me a long story about {}.",
            "A long story about {}, please.",
            "Write a long tale about {}.",
        )
    )
    parts = [
        f"Chapter {i}. {opening if i == 1 else ''} {chapter(r, i - 1, names)}".replace("  ", " ")
        for i in range(1, 7)
    ]
    return _asked(ask, about), "\n\n".join(parts) + "\n\nThe end."


def counting(r: Random) -> tuple[str, str]:
    """Return a request to count and the numbers.

    >>> counting(Random(1))[1].count(",") > 0
    True
    """
    last = r.choice(
        (3, 5, 10, 20, 30, 40, 50, r.randint(2, 60), r.randint(2, 99), r.randint(2, 30))
    )
    pick = r.random()
    if pick < 0.7:
        first = 1
        ask = r.choice(
            (
                "Count to {}.",
                "Count from 1 to {}.",
                "Please count to {}.",
                "Write the numbers from 1 to {}.",
                "List the numbers from 1 to {}.",
                "count to {}",
                "Can you count to {}?",
            )
        )
    elif pick < 0.9:
        first = r.randint(0, last)
        ask = r.choice(("Count from {1} to {0}.", "Write the numbers from {1} to {0}."))
    else:
        down = range(min(last, 30), 0, -1)
        return f"Count down from {down[0]}.", ", ".join(map(str, down)) + "."
    spelled = _SPELLED.get(last, last) if r.random() < 0.3 else last
    return ask.format(spelled, first), ", ".join(map(str, range(first, last + 1))) + "."
