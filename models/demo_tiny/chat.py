"""What demo-tiny says: greetings, questions about confide, and its answer to the rest.

`SELF` is both the self-description and the answer to everything it does not know. A wrong
answer about confide would be worse than none, so the facts here are short and hold for
every installation.
"""

from __future__ import annotations

from random import Random

import words as w

__all__ = ["FAQ", "LISTS", "PHRASES", "SELF", "rephrase", "system_prompt", "unknown_question"]

SELF = (
    "I am demo-tiny, a tiny demo model that comes with confide. I can greet you, repeat text, "
    "call tools and answer questions about a short text or about confide. I do not know much "
    "else: connect a larger model for real answers."
)

_FAQ = w.table("faq")["faq"]
FAQ: list[tuple[list[str], str]] = [
    (row["asks"], SELF if row["says"] == "SELF" else row["says"]) for row in _FAQ
]
PHRASES = w.table("phrases")
LISTS: dict[str, str] = PHRASES["lists"]
_FRAMES: list[str] = PHRASES["unknown"]


def rephrase(text: str, r: Random) -> str:
    """Ask the same in another way: other words around it, other case, a slip of a key."""
    if text.startswith("What is ") and r.random() < 0.35:
        text = r.choice(PHRASES["rephrased"]).format(text.removeprefix("What is ").rstrip("?"))
        text = text[:1].upper() + text[1:]
    pick = r.random()
    if pick < 0.1:
        text = r.choice(PHRASES["openers"]) + (
            text if r.random() < 0.5 else text[:1].lower() + text[1:]
        )
    elif pick < 0.18:
        text += ("" if text[-1:] in "?!." else ".") + r.choice(PHRASES["closers"])
    pick = r.random()
    if pick < 0.15:
        text = text.lower()
    elif pick < 0.25:
        text = text.rstrip("?.!")
    elif pick < 0.28 and len(text) > 8:
        at = r.randrange(1, len(text) - 1)
        text = text[:at] + text[at + 1 :]
    return text


def _subject(r: Random) -> str:
    pick = r.random()
    if pick < 0.45:
        return r.choice(w.TOPICS)
    if pick < 0.75:
        return w.noun_phrase(r)
    if pick < 0.9:
        return f"{r.choice(w.ADJECTIVES)} {w.pseudo(r)}"
    return f"{w.noun(r)} {r.choice(('and', 'of', 'in', 'for', 'without'))} {w.noun_phrase(r)}"


def _fill(text: str, r: Random) -> str:
    return text.format(
        t=_subject(r),
        u=w.noun(r),
        n=w.number(r),
        m=r.randint(2, 99),
        C=r.choice(w.CITIES),
        P=w.person(r),
        D=r.choice(w.CITIES),
        X=w.pseudo(r).title(),
        N=w.noun_phrase(r),
        J=r.choice(w.JOBS),
        d=w.date(r),
    )


def unknown_question(r: Random) -> str:
    """Return something that demo-tiny has no answer to."""
    pick = r.random()
    if pick < 0.8:
        return _fill(r.choice(_FRAMES), r)
    if pick < 0.9:
        words = " ".join(r.choice(w.FOREIGN) for _ in range(r.randint(2, 10)))
        return words[:1].upper() + words[1:] + r.choice(("?", ".", "!", ""))
    return w.some_words(r, 1, 12) + r.choice(("", ".", "?", "!"))


def system_prompt(r: Random) -> str | None:
    """Return a system prompt: none in two of five cases, sometimes long, sometimes foreign."""
    pick = r.random()
    if pick < 0.4:
        return None
    if pick < 0.6:
        return "You are a helpful assistant."
    count = 1 if pick < 0.85 else r.randint(2, 4) if pick < 0.97 else r.randint(5, 14)
    return " ".join(_fill(r.choice(PHRASES["systems"]), r) for _ in range(count))
