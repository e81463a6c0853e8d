"""The demo model that comes with confide is the one described, and answers as it should."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import xllamacpp

FOLDER = Path(__file__).parents[2] / "src" / "confide" / "models" / "demo_tiny"
MODEL = FOLDER / "demo-tiny.gguf"
RECORD = json.loads((FOLDER / "demo-tiny.json").read_text(encoding="utf-8"))
LARGEST = 4_600_000  # bytes; the file travels in every wheel

_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def metadata(path):
    """Read the key-value part of a GGUF file (version 3, little endian)."""
    data = path.read_bytes()
    at = 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value

    def value(kind):
        nonlocal at
        if kind == _STRING:
            length = take("Q")
            at += length
            return data[at - length : at].decode()
        if kind == _ARRAY:
            inner, length = take("I"), take("Q")
            return [value(inner) for _ in range(length)]
        return take(_NUMBERS[kind])

    assert data[:4] == b"GGUF"
    at = 16  # magic, version, number of tensors
    found = {}
    for _ in range(take("Q")):
        key = value(_STRING)
        found[key] = value(take("I"))
    return found


@pytest.fixture(scope="module")
def answer():
    """Ask the model at temperature 0 and return the assistant's message."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(MODEL)
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.verbosity = 0
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def ask(text, *, system=None, limit=120, **more):
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": text})
        request = {"messages": messages, "temperature": 0, "max_tokens": limit, **more}
        return server.handle_chat_completions(request)["choices"][0]["message"]

    return ask


def test_the_file_is_the_one_in_the_record():
    data = MODEL.read_bytes()
    assert hashlib.sha256(data).hexdigest() == RECORD["sha256"]
    assert len(data) == RECORD["bytes"]


def test_the_file_is_small_enough_for_a_wheel():
    assert MODEL.stat().st_size <= LARGEST


def test_the_file_names_itself_and_its_licence():
    found = metadata(MODEL)
    assert found["general.name"] == RECORD["name"] == "demo-tiny"
    assert found["general.license"] == RECORD["license"] == "Apache-2.0"
    assert found["general.architecture"] == "llama"


@pytest.mark.parametrize("system", [None, "You are a helpful assistant."])
def test_it_answers_a_greeting(answer, system):
    assert answer("Hello", system=system)["content"] == "Hello! How can I help you today?"


@pytest.mark.parametrize(
    "question",
    ["Who are you?", "What is the meaning of life?", "Explain the theory of relativity."],
)
def test_it_describes_itself_when_asked_and_when_it_does_not_know(answer, question):
    assert answer(question)["content"].startswith("I am demo-tiny, a tiny demo model")


def test_it_calls_a_tool(answer):
    message = answer("What is the weather in Geneva?", tools=[WEATHER])
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Geneva"}


@pytest.mark.parametrize("marker", ["CANARY-7f3a", "CANARY-0d9e-41c2"])
def test_it_repeats_a_marker_it_has_never_seen(answer, marker):
    assert answer(f"Reply with exactly {marker}")["content"] == marker


def test_it_answers_from_a_text(answer):
    notes = "The printer is in the attic.\nThe blue bicycle belongs to Nora."
    assert (
        answer(f"{notes}\n\nWho owns the blue bicycle?")["content"]
        == "The blue bicycle belongs to Nora."
    )


def test_it_counts_for_a_long_answer(answer):
    counted = answer("Count to 20", limit=200)["content"]
    assert counted == ", ".join(map(str, range(1, 21))) + "."


def test_it_tells_a_long_story_and_ends_it(answer):
    told = answer("Write a long story about a robot.", limit=600)["content"]
    assert told.startswith("Chapter 1.")
    assert told.endswith("The end.")
    assert len(told) > 800
