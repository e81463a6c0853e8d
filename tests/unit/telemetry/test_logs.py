"""A log line has no room for content, whatever the caller passes."""

import io
import json
import logging
import subprocess
import sys
import threading

import pytest

from confide.telemetry import logs


@pytest.fixture
def lines():
    stream = io.StringIO()
    logs.configure("debug", stream, now=lambda: 1_900_000_000.1239)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logs.configure("info", None)


def test_an_event_is_one_json_line_with_its_fields(lines):
    logs.event("relayed", request_id="r1", bytes_up=4096, outcome="complete")
    assert lines() == [
        {
            "ts": 1_900_000_000.124,
            "level": "info",
            "event": "relayed",
            "request_id": "r1",
            "bytes_up": 4096,
            "outcome": "complete",
        }
    ]


def test_a_field_outside_the_list_is_dropped_and_counted(lines):
    before = logs.dropped_total()
    logs.event("relayed", prompt="hello", messages=["x"], status=200)
    assert lines()[0].keys() == {"ts", "level", "event", "status"}
    assert logs.dropped_total() == before + 2


@pytest.mark.parametrize(
    "value",
    [
        "a sentence has spaces",
        "x" * 129,
        "line\nbreak",
        "naïve",
        b"bytes",
        {"a": 1},
        ["a"],
        ValueError("boom"),
        "ck_0123456789abcdefABCDEF",
        "Bearer:sk-proj-0123456789abcdef",
        "eyJhbGciOiJFZERTQSJ9",
    ],
)
def test_a_value_that_could_be_content_or_a_secret_is_refused(lines, value):
    before = logs.dropped_total()
    logs.event("x", reason=value)
    assert lines()[0]["reason"] == logs.REFUSED
    assert logs.dropped_total() == before + 1


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, True),
        (3, 3),
        (0.12345678, 0.123457),
        (None, None),
        (float("nan"), None),
        ("a/b:1", "a/b:1"),
    ],
)
def test_numbers_and_short_words_are_written(lines, value, written):
    logs.event("x", status=value)
    assert lines()[0]["status"] == written


def test_the_event_name_is_held_to_the_same_rule(lines):
    logs.event("the user said hello")
    assert lines()[0]["event"] == logs.REFUSED


def test_levels_below_the_configured_one_are_not_written():
    stream = io.StringIO()
    logs.configure("warning", stream)
    logs.event("quiet")
    assert not logs.enabled("info")
    logs.event("loud", level="error")
    logs.configure("info", None)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_nothing_is_written_when_no_stream_is_configured():
    logs.configure("debug", None)
    logs.event("x", status=1)
    assert not logs.enabled("error")


def test_a_record_of_another_library_loses_its_message(lines):
    try:
        raise KeyError("the prompt")
    except KeyError:
        logging.getLogger("otherlib").exception("failed on %s", "the prompt")
    (line,) = lines()
    assert line["event"] == "library"
    assert line["logger"] == "otherlib"
    assert line["error"] == "KeyError"
    assert "prompt" not in json.dumps(line)


def test_configuring_twice_does_not_write_library_records_twice(lines):
    stream = io.StringIO()
    logs.configure("info", stream)
    logging.getLogger("otherlib").warning("x")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_closed_stream_is_given_up_on_without_an_error():
    stream = io.StringIO()
    logs.configure("info", stream)
    stream.close()
    before = logs.dropped_total()
    logs.event("x")
    logs.configure("info", None)
    assert logs.dropped_total() == before + 1


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError):
        logs.configure("loud", None)  # type: ignore[arg-type]


class Pipe(io.StringIO):
    """A stream that says when something was written."""

    def __init__(self):
        super().__init__()
        self.writes = 0
        self.written = threading.Event()

    def write(self, text):
        self.writes += 1
        super().write(text)
        self.written.set()
        return len(text)


@pytest.fixture
def pipe():
    stream = Pipe()
    logs.configure("info", stream, batched=True)
    yield stream
    logs.configure("info", None)


def test_batched_lines_are_written_together_in_order_and_soon(pipe):
    for number in range(100):
        logs.event("x", seq=number)
    assert pipe.written.wait(5)
    logs.flush()
    assert [json.loads(line)["seq"] for line in pipe.getvalue().splitlines()] == list(range(100))
    assert pipe.writes < 100


def test_an_error_is_written_at_once_after_everything_before_it(pipe):
    logs.event("before")
    logs.event("bad", level="error")
    assert [json.loads(line)["event"] for line in pipe.getvalue().splitlines()] == ["before", "bad"]


def test_lines_that_wait_are_bounded(pipe):
    for number in range(1000):
        logs.event("x", seq=number)
    assert len(pipe.getvalue().splitlines()) >= 1000


def test_another_stream_does_not_take_the_lines_that_wait(pipe):
    logs.event("x")
    logs.configure("info", None)
    assert len(pipe.getvalue().splitlines()) == 1


def test_the_end_of_the_process_writes_what_waits():
    program = (
        "import sys; from confide.telemetry import logs;"
        "logs.configure('info', sys.stderr, batched=True); logs.event('last')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stderr)["event"] == "last"


def test_a_value_with_quotes_stays_one_json_string(lines):
    logs.event("x", reason='a"b\\c', request_id="f" * 32)
    logs.event("x", reason='a"b\\c', request_id="eyJ" + "f" * 29)
    assert [line["reason"] for line in lines()] == ['a"b\\c'] * 2
    assert [line["request_id"] for line in lines()] == ["f" * 32, logs.REFUSED]
