"""Short and long stories, and counting: answers whose length the user chooses.

A story of "Chapter 1." to "Chapter n." keeps a small model on track for hundreds of tokens;
every sentence names the hero, who is copied from the request.
"""

from __future__ import annotations

from random import Random

import words as w

__all__ = ["chapter", "counting", "story"]

_OPENINGS = ("Once upon a time there was a {o} {a} named {h}.", "Once there lived a {o} {a} named {h}.")
_SCENES: list[tuple[tuple[str, ...], ...]] = [
    (("{h} lived near the {p} and loved {f}.", "{h} lived in a small house by the {p}."),
     ("Every morning {h} walked to the {q} to look for {f}.", "Every day {h} sat by the window and looked at the {q}."),
     ("Life was quiet, and {h} was happy.", "But {h} often felt alone.")),
    (("One day {h} met a {b} who was lost.", "One morning {h} heard a {b} cry near the {p}."),
     ("\"Can I help you?\" asked {h}.", "\"Where do you come from?\" asked {h}."),
     ("The {b} said that the way home led over the {q}.", "The {b} had lost a {c} key in the {q}.")),
    (("They walked together for a long time.", "So {h} and the {b} set out at once."),
     ("It began to rain, and the wind was cold.", "The road was dark, and a storm came up."),
     ("{h} was afraid at first, but then {h} was brave.", "They shared the last {f} under a big tree.")),
    (("Near the {q} they found a {c} box.", "Behind the {q} they saw a {c} light."),
     ("Inside was an old map of the {p}.", "It was a lamp that someone had left there."),
     ("\"This will show us the way,\" said {h}.", "The {b} laughed and danced with joy.")),
    (("Then a big {d} stood in front of them.", "Suddenly they heard a {d} behind the trees."),
     ("{h} gave it some {f}, and it let them pass.", "{h} spoke kindly, and it became their friend."),
     ("The {b} said that {h} was very clever.", "After that nobody was afraid any more.")),
    (("At last they came to the home of the {b}.", "In the evening they saw the lights of the {p}."),
     ("Everyone was glad and there was {f} for all.", "They sat by the fire and told stories."),
     ("In the end everyone was happy.", "And {h} was never alone again.")),
]  # fmt: skip


def chapter(r: Random, scene: int, names: dict[str, str]) -> str:
    """Return three sentences of one scene."""
    return " ".join(r.choice(options).format(**names) for options in _SCENES[scene])


def story(r: Random) -> tuple[str, str]:
    """Return a request for a story and the story, short or in chapters."""
    animal = w.pseudo(r) if r.random() < 0.15 else r.choice(w.ANIMALS)
    hero = r.choice(w.NAMES)
    names = {"a": animal, "h": hero, "o": r.choice(("small", "old", "kind", "young", "clever")),
             "p": r.choice(w.PLACES[:12]), "q": r.choice(w.PLACES[:12]), "f": r.choice(w.FOODS), "c": r.choice(w.COLORS),
             "b": r.choice(w.ANIMALS), "d": r.choice(w.ANIMALS)}  # fmt: skip
    about = f"a {animal}"
    if r.random() < 0.4:
        about += f" named {hero}"
    else:
        # Without a name in the request the hero follows from the animal: less to guess.
        names["h"] = w.NAMES[sum(animal.encode()) % len(w.NAMES)]
    opening = r.choice(_OPENINGS).format(**names)
    if r.random() < 0.5:
        ask = r.choice(("Tell me a story about {}.", "Write a short story about {}.", "Tell me a short story about {}.", "A story about {}, please.", "Write a story about {}."))
        scenes = [0, r.choice((1, 2, 3)), 5]
        return ask.format(about), " ".join([opening, *(chapter(r, scene, names) for scene in scenes)])
    ask = r.choice(("Tell me a long story about {}.", "Write a long story about {}.", "Write a very long story about {}.", "Please tell me a long story about {}.", "A long story about {}, please.", "Write a long tale about {}."))
    parts = [f"Chapter {i}. {opening if i == 1 else ''} {chapter(r, i - 1, names)}".replace("  ", " ") for i in range(1, 7)]
    return ask.format(about), "\n\n".join(parts) + "\n\nThe end."


def counting(r: Random) -> tuple[str, str]:
    """Return a request to count and the numbers.

    >>> counting(Random(1))[1].count(",") > 0
    True
    """
    last = r.choice((3, 5, 10, 20, 30, 40, 50, r.randint(2, 60), r.randint(2, 99), r.randint(2, 30)))
    pick = r.random()
    if pick < 0.7:
        first = 1
        ask = r.choice(("Count to {}.", "Count from 1 to {}.", "Please count to {}.", "Write the numbers from 1 to {}.", "List the numbers from 1 to {}.", "count to {}", "Can you count to {}?"))
    elif pick < 0.9:
        first = r.randint(0, last)
        ask = r.choice(("Count from {1} to {0}.", "Write the numbers from {1} to {0}."))
    else:
        down = range(min(last, 30), 0, -1)
        return f"Count down from {down[0]}.", ", ".join(map(str, down)) + "."
    return ask.format(last, first), ", ".join(map(str, range(first, last + 1))) + "."
