"""Word lists and random values that fill the slots of the demo corpus.

The words are in `data/words.toml`; all were written for this project. Many of the
values are made up, so that a model trained on them has to copy instead of recall.

The choice of what to say with these words is in `chat.py`, `facts.py` and `tooling.py`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random
from typing import Any

__all__ = [
    "ADJECTIVES", "ANIMALS", "ATTRIBUTES", "CITIES", "COLORS", "FOODS", "FOREIGN", "JOBS",
    "MONTHS", "NAMES", "NOUNS", "PLACES", "SURNAMES", "TOPICS", "VERBS", "WEEKDAYS", "city",
    "code", "command",
    "company", "count", "date", "file_name", "marker", "money", "noun", "noun_phrase", "number",
    "path", "person", "pseudo", "some_words", "table", "time_of_day",
]  # fmt: skip


def table(name: str) -> dict[str, Any]:
    """Read one file of the `data` folder."""
    return tomllib.loads((Path(__file__).parent / "data" / f"{name}.toml").read_text("utf-8"))


_WORDS = table("words")
NAMES: list[str] = _WORDS["names"].split()
SURNAMES: list[str] = _WORDS["surnames"].split()
CITIES: list[str] = _WORDS["cities"].split()
JOBS: list[str] = _WORDS["jobs"].split()
COLORS: list[str] = _WORDS["colors"].split()
ANIMALS: list[str] = _WORDS["animals"].split()
PLACES: list[str] = _WORDS["places"].split()
FOODS: list[str] = _WORDS["foods"].split()
MONTHS: list[str] = _WORDS["months"].split()
WEEKDAYS: list[str] = _WORDS["weekdays"].split()
NOUNS: list[str] = _WORDS["nouns"].split()
ADJECTIVES: list[str] = _WORDS["adjectives"].split()
ATTRIBUTES: list[str] = _WORDS["attributes"].split()
FOREIGN: list[str] = _WORDS["foreign"].split()
TOPICS: list[str] = _WORDS["topics"]
VERBS: list[list[str]] = [pair.split("/") for pair in _WORDS["verbs"].split()]
"""Present and past of each verb."""
_COUNTS: list[str] = _WORDS["counts"].split()
_SYLLABLES = _WORDS["syllables"].split()


def pseudo(r: Random) -> str:
    """Make up a lower-case word: syllables, halves of two nouns, or letters at random."""
    pick = r.random()
    if pick < 0.25:
        first, last = r.choice(NOUNS), r.choice(NOUNS)
        return first[: r.randint(2, 5)] + last[-r.randint(2, 5) :]
    if pick < 0.4:
        return "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(2, 7)))
    return "".join(r.choice(_SYLLABLES) for _ in range(r.choice((2, 2, 3, 3, 4))))


def number(r: Random) -> str:
    """Return a non-negative integer of one to five digits."""
    return str(r.randrange(10 ** r.choice((1, 2, 2, 3, 4, 5))))


def code(r: Random, low: int = 3, high: int = 8) -> str:
    """Return `low` to `high` characters drawn from one small alphabet, as serial numbers are."""
    alphabet = r.choice(("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", "0123456789abcdef", "0123456789"))
    return "".join(r.choice(alphabet) for _ in range(r.randint(low, high)))


def city(r: Random) -> str:
    """Return the name of a city: known, made up, or of two words."""
    pick = r.random()
    if pick < 0.6:
        return r.choice(CITIES)
    made = pseudo(r).title()
    if pick < 0.85:
        return made
    return (
        f"{r.choice(('New', 'San', 'Saint', 'Port', 'El', 'Los', 'Bad', 'North', 'Lake'))} {made}"
    )


def path(r: Random) -> str:
    """Return the path of a file, relative or absolute, with or without an ending."""
    if r.random() < 0.6:
        return file_name(r)
    folders = [
        r.choice(("etc", "home", "tmp", "src", "var", "docs", noun(r), pseudo(r)))
        for _ in range(r.choice((1, 1, 2)))
    ]
    last = r.choice(
        (
            noun(r),
            pseudo(r),
            "hosts",
            "README.md",
            "Makefile",
            "main.py",
            file_name(r).split("/")[-1],
        )
    )
    return r.choice(("/", "/", "./", "")) + "/".join([*folders, last])


def command(r: Random) -> str:
    """Return something one would type in a shell."""
    form = r.choice(
        (
            "ls -la",
            "ls",
            "pwd",
            "git status",
            "git diff {p}",
            "cat {p}",
            "python {p}",
            "make {n}",
            "echo {n}",
            "rm {p}",
            "mkdir {n}",
            "cd {p}",
            "grep {n} {p}",
            "npm install {n}",
            "pytest -k {n}",
            "{n} --{m}",
            "date",
            "curl {n}.org",
        )
    )
    return form.format(p=path(r), n=r.choice((noun, pseudo))(r), m=noun(r))


def marker(r: Random) -> str:
    """Return a string such as CANARY-7f3a, as tests use to follow one text through a system."""
    head = r.choice(("CANARY", "MARKER", "TOKEN", "ID", "TEST", "REF", "KEY", "canary", "marker"))
    if r.random() < 0.6:
        head = pseudo(r)
        head = r.choice((head, head.upper(), head.upper(), head.title()))
    parts = [head] + [code(r) for _ in range(r.choice((1, 1, 1, 2, 3)))]
    return r.choice(("-", "-", "-", "_", ".", ":")).join(parts)


def person(r: Random) -> str:
    """Return a first name, sometimes with a surname, sometimes made up."""
    first = pseudo(r).title() if r.random() < 0.25 else r.choice(NAMES)
    pick = r.random()
    if pick < 0.3:
        return f"{first} {r.choice(SURNAMES)}"
    if pick < 0.36:
        return f"{r.choice(('Dr.', 'Mr.', 'Mrs.', 'Ms.', 'Prof.'))} {r.choice((*SURNAMES, first))}"
    return first


def noun(r: Random) -> str:
    """Return a noun, one in five of them made up."""
    return pseudo(r) if r.random() < 0.2 else r.choice(NOUNS)


def noun_phrase(r: Random) -> str:
    """Return one or two words that name a thing, without an article."""
    kind = r.random()
    if kind < 0.35:
        return noun(r)
    if kind < 0.65:
        return f"{r.choice(ADJECTIVES)} {noun(r)}"
    return f"{noun(r)} {noun(r)}"


def date(r: Random) -> str:
    """Return a date in one of four written forms."""
    day, month, year = r.randint(1, 28), r.randint(1, 12), r.randint(1900, 2040)
    name = MONTHS[month - 1]
    return r.choice(
        (f"{name} {day}", f"{day} {name} {year}", f"{year}-{month:02}-{day:02}", r.choice(WEEKDAYS))
    )


def time_of_day(r: Random) -> str:
    """Return a time such as 14:05 or 9 am."""
    if r.random() < 0.5:
        return f"{r.randint(0, 23)}:{r.randint(0, 59):02}"
    return f"{r.randint(1, 12)} {r.choice(('am', 'pm'))}"


def money(r: Random) -> str:
    """Return an amount with its currency."""
    return f"{number(r)} {r.choice(('francs', 'euros', 'dollars', 'pounds', 'yen', 'CHF'))}"


def company(r: Random) -> str:
    """Return the name of a company."""
    return f"{pseudo(r).title()}{r.choice(('', ' Ltd.', ' Inc.', ' AG', ' Bank', ' Foundation'))}"


def count(r: Random) -> str:
    """Return a small number, as digits or as a word."""
    return number(r) if r.random() < 0.6 else r.choice(_COUNTS)


def file_name(r: Random) -> str:
    """Return a file name, sometimes with folders."""
    folders = [noun(r) for _ in range(r.choice((0, 0, 0, 1, 2)))]
    ending = r.choice(("txt", "md", "py", "json", "csv", "log", "pdf", "toml"))
    return "/".join([*folders, f"{noun(r)}.{ending}"])


def some_words(r: Random, low: int, high: int) -> str:
    """Return between `low` and `high` words of mixed kinds, joined by spaces or commas."""
    makers = (noun, noun, noun, pseudo, pseudo, number, marker, lambda r: r.choice(NAMES),
              lambda r: r.choice(ADJECTIVES), lambda r: r.choice(CITIES))  # fmt: skip
    joint = ", " if r.random() < 0.12 else " "
    return joint.join(r.choice(makers)(r) for _ in range(r.randint(low, high)))
