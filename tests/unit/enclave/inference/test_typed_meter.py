"""Streams whose events say what they are: Responses and transcripts."""

import json

import pytest

from confide.enclave.inference.backend import Operation, Usage
from confide.enclave.inference.metering import TypedMeter, usage_of
from confide.enclave.inference.responses_api import FINAL_EVENTS


def event(kind, **members):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def meter():
    return TypedMeter(final=FINAL_EVENTS)


@pytest.mark.parametrize("kind", sorted(FINAL_EVENTS))
def test_the_last_event_ends_the_stream_and_brings_the_usage(kind):
    seen = meter()
    last = event(kind, response={"usage": {"input_tokens": 5, "output_tokens": 7}})
    assert seen.pass_on(last) == last
    assert seen.finished
    assert seen.usage(()) == Usage(5, 7, "exact")


def test_content_that_reads_like_an_event_is_content():
    seen = meter()
    for text in ('"type":"response.completed"', '"error"', "[DONE]", "response.failed"):
        said = event("response.output_text.delta", delta=text)
        assert seen.pass_on(said) == said
    quoted = event("response.output_text.done", text="response.completed", usage={"x": 1})
    assert seen.pass_on(quoted) == quoted
    assert not seen.finished
    assert not seen.failed


def test_without_a_report_usage_is_an_estimate_from_the_deltas():
    seen = meter()
    for _ in range(3):
        seen.pass_on(event("response.output_text.delta", delta="x"))
    seen.pass_on(event("response.output_item.done"))
    assert seen.usage(["four" * 4]) == Usage(4, 3, "estimated")


@pytest.mark.parametrize(
    "failure",
    [
        event("error", message="secret-marker"),
        event("response.failed", response={"error": {"message": "secret-marker"}}),
        b'data: {"error": {"message": "secret-marker"}}\n\n',
    ],
)
def test_an_engines_own_words_about_a_failure_are_replaced(failure):
    seen = meter()
    passed = seen.pass_on(failure)
    assert seen.failed
    assert b"secret-marker" not in passed
    told = json.loads(passed.split(b"data: ")[1])
    assert (told["type"], told["code"]) == ("error", "backend_failed")
    assert told["error"]["code"] == "backend_failed", "what OpenAI's libraries look for"


def test_keep_alive_comments_are_no_beginning():
    seen = meter()
    assert seen.pass_on(b": ping\n\n") == b": ping\n\n"
    assert not seen.began
    seen.pass_on(b"data: [DONE]\n\n")
    assert seen.finished


@pytest.mark.parametrize(
    "usage", [{"input_tokens": -1, "output_tokens": 1}, {"type": "duration", "seconds": 9}, None]
)
def test_a_usage_that_counts_no_tokens_is_none(usage):
    assert usage_of({"usage": usage}) is None


def test_permissions_have_fewer_words_than_operations():
    assert {one: one.granted_as for one in Operation} == {
        Operation.CHAT: "chat",
        Operation.COMPLETIONS: "completions",
        Operation.EMBEDDINGS: "embeddings",
        Operation.RESPONSES: "chat",
        Operation.TRANSCRIPTIONS: "audio",
        Operation.TRANSLATIONS: "audio",
    }
