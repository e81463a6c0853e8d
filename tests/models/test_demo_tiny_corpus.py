"""The training corpus of demo-tiny can be made again, and says what the model must say."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

SCRIPTS = Path(__file__).parents[2] / "models" / "demo_tiny"
SEED, COUNT = 20, 2000
DIGEST = "d289efae52b0c79ce23e30861f5ab232a546effa9b850150a14e660a6e4795c3"


@pytest.fixture(scope="module")
def corpus():
    """The corpus script, imported from its folder and forgotten again afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    try:
        import corpus

        yield corpus
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in set(sys.modules) - before:
            if str(SCRIPTS) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def test_the_seed_gives_the_same_dialogues_everywhere(corpus):
    assert corpus.digest(SEED, COUNT) == DIGEST


def test_another_seed_gives_other_dialogues(corpus):
    assert corpus.digest(SEED + 1, COUNT) != DIGEST


def test_every_dialogue_ends_with_something_to_learn(corpus):
    for _, made in zip(range(500), corpus.dialogues(SEED), strict=False):
        assert made.turns[-1].role == "assistant"
        assert any(learn for _, learn in corpus.render(made))


def test_special_tokens_come_only_from_the_template(corpus):
    for _, made in zip(range(500), corpus.dialogues(SEED), strict=False):
        assert not any("<|" in turn.text for turn in made.turns)


def test_the_description_of_itself_answers_what_it_does_not_know(corpus):
    question, answer = corpus.skills.unknown(Random(SEED))
    assert question.role == "user"
    assert answer.text.startswith("I am demo-tiny, a tiny demo model")
