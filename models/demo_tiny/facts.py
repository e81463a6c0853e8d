"""Made-up facts, each with questions whose answer is the fact itself, word for word.

A question about a text is always answered by the one sentence that states it. Finding
and copying a sentence is a habit that carries over to texts never seen in training;
rephrasing is not, at this size.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import words as w

__all__ = ["Fact", "Template", "fact", "filler", "siblings", "template"]

Maker = Callable[[Random], str]
Template = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Fact:
    """One statement and one question that it answers."""

    statement: str
    question: str


_ANY: tuple[Maker, ...] = (
    w.number,
    w.code,
    w.pseudo,
    w.marker,
    w.person,
    w.date,
    w.noun_phrase,
)
_SLOTS: dict[str, Maker] = {
    "N": w.noun_phrase,
    "M": w.noun_phrase,
    "P": w.person,
    "Q": w.person,
    "D": w.date,
    "T": w.time_of_day,
    "F": w.money,
    "K": w.code,
    "k": w.marker,
    "n": w.number,
    "X": lambda r: w.pseudo(r).title(),
    "Y": lambda r: w.pseudo(r).title(),
    "C": w.city,
    "L": lambda r: w.noun(r) if r.random() < 0.4 else r.choice(w.PLACES),
    "J": lambda r: r.choice(w.JOBS),
    "c": lambda r: r.choice(w.COLORS),
    "A": lambda r: r.choice(w.ANIMALS),
    "B": lambda r: r.choice(w.FOODS),
    "a": lambda r: r.choice(w.ATTRIBUTES),
    "V": lambda r: r.choice(_ANY)(r),
    "o": lambda r: r.choice(w.ADJECTIVES),
    "f": w.file_name,
    "I": w.company,
    "m": w.count,
    "S": lambda r: f"{r.choice(w.NAMES)} Street {r.randint(1, 99)}",
    "h": w.noun,
    "W": lambda r: w.pseudo(r).rstrip("aeiou") + r.choice(("ed", "ed", "ated")),
    "w": lambda r: r.choice(w.VERBS)[1],
    "H": lambda r: w.some_words(r, 1, 4),
    "g": w.noun,
    "v": lambda r: r.choice(w.VERBS)[0],
}
_DATA = w.table("facts")
_TEMPLATES: list[Template] = [(form["says"], tuple(form["asks"])) for form in _DATA["fact"]]


def _fill(texts: tuple[str, ...], r: Random) -> list[str]:
    values: dict[str, str] = {}

    def one(match: re.Match[str]) -> str:
        slot = match[1]
        if slot not in values:
            values[slot] = _SLOTS[slot](r)
        return values[slot]

    filled = [re.sub(r"\{(\w)\}", one, text) for text in texts]
    return [text[:1].upper() + text[1:] for text in filled]


def template(r: Random) -> Template:
    """Pick a statement form: three in four from the list, the rest built around a verb."""
    if r.random() < 0.75:
        return r.choice(_TEMPLATES)
    base, past = r.choice(w.VERBS)
    what = r.choice(("the {N}", "a {N}", "{n} {B}"))
    where, ask = r.choice(
        (
            ("", ()),
            (" in {C}", ("Where",)),
            (" on {D}", ("When",)),
            (" for {F}", ("For how much",)),
            (" with {Q}", ("With whom",)),
            (" at {T}", ("When",)),
        )
    )
    questions = [
        f"Who {past} {what}?",
        f"What did {{P}} {base}?",
        *(f"{x} did {{P}} {base} {what}?" for x in ask),
    ]
    return f"{{P}} {past} {what}{where}.", tuple(questions)


def _dressed(statement: str, r: Random) -> str:
    """Put something before or after a statement, which the answer then contains too."""
    before = r.choice(
        ("According to {Q}, ", "In {M} terms, ", "Since {D}, ", "As of today, ", "Please note: ")
    )
    after = r.choice(
        (
            " as agreed with {Q}.",
            ", not the {M}.",
            " because of the {M}.",
            ", says {Q}.",
            " (see {f}).",
        )
    )
    lowered = statement[:1].lower() + statement[1:]
    return before + lowered if r.random() < 0.5 else statement[:-1] + after


def fact(r: Random, form: Template | None = None) -> Fact:
    """Fill a form with random values and keep one of its questions."""
    statement, questions = form or template(r)
    if r.random() < 0.15:
        statement = _dressed(statement, r)
    filled = _fill((statement, r.choice(questions)), r)
    return Fact(*filled)


def siblings(r: Random, count: int) -> list[Fact]:
    """Return `count` different facts, often of the same form, so that one word decides."""
    forms = [template(r) for _ in range(count)]
    if count > 1 and r.random() < 0.4:
        for i in r.sample(range(count), r.randint(2, min(3, count))):
            forms[i] = forms[0]
    found: dict[str, Fact] = {}
    for form in forms:
        new = fact(r, form)
        found.setdefault(new.question, new)
    return list(found.values())


def filler(r: Random) -> str:
    """Return a sentence that answers nothing."""
    return _fill((r.choice(_DATA["fillers"]),), r)[0]
