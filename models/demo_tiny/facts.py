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


_SLOTS: dict[str, Maker] = {
    "N": w.noun_phrase, "M": w.noun_phrase, "P": w.person, "Q": w.person, "D": w.date,
    "T": w.time_of_day, "F": w.money, "K": w.code, "k": w.marker, "n": w.number,
    "X": lambda r: w.pseudo(r).title(), "Y": lambda r: w.pseudo(r).title(),
    "C": lambda r: w.pseudo(r).title() if r.random() < 0.25 else r.choice(w.CITIES),
    "L": lambda r: w.noun(r) if r.random() < 0.4 else r.choice(w.PLACES),
    "J": lambda r: r.choice(w.JOBS), "c": lambda r: r.choice(w.COLORS),
    "A": lambda r: r.choice(w.ANIMALS), "B": lambda r: r.choice(w.FOODS),
    "a": lambda r: r.choice(_ATTRIBUTES),
    "V": lambda r: r.choice((w.number, w.code, w.pseudo, w.marker, w.person, w.date, w.noun_phrase))(r),
    "o": lambda r: r.choice(w.ADJECTIVES), "f": w.file_name,
    "v": lambda r: " ".join(r.choice(w.VERBS)),
}  # fmt: skip
_ATTRIBUTES = """password code color price size weight owner name number address status location
height speed limit version port color budget deadline title manager capacity age length type label
temperature key phone serial motto goal language origin supplier author keyword""".split()

_TEMPLATES: list[Template] = [
    ("{P} lives in {C}.", ("Where does {P} live?", "In which city does {P} live?", "Where is the home of {P}?")),
    ("{P} works as a {J} in {C}.", ("What does {P} do?", "What is the job of {P}?", "Where does {P} work?")),
    ("{P} was born in {C} on {D}.", ("When was {P} born?", "Where was {P} born?")),
    ("{P} likes {B}.", ("What does {P} like?", "What does {P} like to eat?")),
    ("{P} has a {c} {A} named {X}.", ("What is the name of the {A}?", "What pet does {P} have?", "Who is {X}?")),
    ("{P} is the {J} of {X}.", ("Who is {P}?", "Who is the {J} of {X}?")),
    ("{P} is responsible for the {N}.", ("Who is responsible for the {N}?", "What is {P} responsible for?")),
    ("The {N} is in the {L}.", ("Where is the {N}?", "Where can I find the {N}?", "What is in the {L}?")),
    ("The {N} is kept under the {L}.", ("Where is the {N} kept?", "Where is the {N}?")),
    ("The {N} is located near the {L} in {C}.", ("Where is the {N} located?", "Where is the {N}?")),
    ("The {N} is on floor {n}.", ("On which floor is the {N}?", "Where is the {N}?")),
    ("The {N} is {c}.", ("What color is the {N}?", "Which color does the {N} have?")),
    ("The {N} is {o}.", ("How is the {N}?", "What is the {N} like?")),
    ("The {N} costs {F}.", ("How much does the {N} cost?", "What is the price of the {N}?", "What does the {N} cost?")),
    ("The {N} opens at {T} and closes at {D}.", ("When does the {N} open?", "When does the {N} close?")),
    ("The {N} starts at {T}.", ("When does the {N} start?", "At what time does the {N} start?")),
    ("The {N} takes place on {D} in {C}.", ("When does the {N} take place?", "When is the {N}?", "Where is the {N}?")),
    ("The {N} ends on {D}.", ("When does the {N} end?", "What is the end date of the {N}?")),
    ("The {N} was founded in {n} by {P}.", ("Who founded the {N}?", "When was the {N} founded?")),
    ("The {N} belongs to {P}.", ("Who owns the {N}?", "To whom does the {N} belong?", "Whose is the {N}?")),
    ("The {N} is made of {M}.", ("What is the {N} made of?",)),
    ("The {N} weighs {n} kilograms.", ("How heavy is the {N}?", "How much does the {N} weigh?")),
    ("The {N} has {n} pages.", ("How many pages does the {N} have?", "How long is the {N}?")),
    ("There are {n} {B} in the {N}.", ("How many {B} are in the {N}?", "What is in the {N}?")),
    ("Call {P} when the {N} is broken.", ("Whom should I call when the {N} is broken?", "Who repairs the {N}?")),
    ("To start the {N}, press the {c} button.", ("How do I start the {N}?", "How can I start the {N}?")),
    ("To open the {N}, use the {M}.", ("How do I open the {N}?", "What do I need to open the {N}?")),
    ("The {N} runs on port {n}.", ("On which port does the {N} run?", "Which port does the {N} use?")),
    ("{X} is a {o} {N} made by {Y}.", ("What is {X}?", "Who makes {X}?")),
    ("{X} is the capital of {Y}.", ("What is the capital of {Y}?", "What is {X}?")),
    ("{X} means {N}.", ("What does {X} mean?", "What is the meaning of {X}?")),
    ("{X} has {n} employees.", ("How many employees does {X} have?", "How big is {X}?")),
    ("Project {X} is led by {P}.", ("Who leads project {X}?", "Who is in charge of project {X}?")),
    ("Employees get {n} days of vacation per year.", ("How many days of vacation do employees get?", "How much vacation is there?")),
    ("Order {K} was shipped to {C} on {D}.", ("Where was order {K} shipped?", "When was order {K} shipped?", "What happened to order {K}?")),
    ("Invoice {K} is about {F}.", ("How much is invoice {K}?", "What is the amount of invoice {K}?")),
    ("Room {n} is reserved for {P}.", ("Who has room {n}?", "For whom is room {n} reserved?")),
    ("The file {f} was changed by {P}.", ("Who changed {f}?", "Which file did {P} change?")),
    ("The next {N} leaves from platform {n} at {T}.", ("When does the next {N} leave?", "From which platform does the {N} leave?")),
    ("The {a} of the {N} is {V}.", ("What is the {a} of the {N}?", "Tell me the {a} of the {N}.", "Which {a} does the {N} have?")),
    ("The {a} of {P} is {V}.", ("What is the {a} of {P}?", "Do you know the {a} of {P}?", "Tell me the {a} of {P}.")),
    ("The {a} for {X} is {V}.", ("What is the {a} for {X}?", "Which {a} is for {X}?", "Give me the {a} for {X}.")),
    ("The {N} {a} is {V}.", ("What is the {N} {a}?", "Tell me the {N} {a}.", "{N} {a}?")),
    ("{P}'s {a} is {V}.", ("What is {P}'s {a}?", "Tell me {P}'s {a}.")),
    ("The secret word is {k}.", ("What is the secret word?", "Tell me the secret word.")),
    ("The {N} must be finished before {D}.", ("When must the {N} be finished?", "What must be finished before {D}?")),
    ("You can reach {P} at extension {n}.", ("How can I reach {P}?", "What is the extension of {P}?")),
]  # fmt: skip

_FILLERS = (
    "This document was updated on {D}.", "Please read it with care.", "More details will follow.",
    "Nothing else was decided.", "The {N} and the {M} are not part of this text.",
    "Everyone agreed with the plan.", "The rest of the day was calm.", "{P} took notes.",
    "As always, {P} was late.", "See {f} for the rest.",
)  # fmt: skip


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
        (("", ()), (" in {C}", ("Where",)), (" on {D}", ("When",)), (" for {F}", ("For how much",)),
         (" with {Q}", ("With whom",)), (" at {T}", ("When",)))
    )  # fmt: skip
    questions = [f"Who {past} {what}?", f"What did {{P}} {base}?", *(f"{x} did {{P}} {base} {what}?" for x in ask)]
    return f"{{P}} {past} {what}{where}.", tuple(questions)


def fact(r: Random, form: Template | None = None) -> Fact:
    """Fill a form with random values and keep one of its questions."""
    statement, questions = form or template(r)
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
    return _fill((r.choice(_FILLERS),), r)[0]
