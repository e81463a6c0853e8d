"""A repetition by an SDK is stopped only where it could do harm, and only for a minute."""

import asyncio
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.doubles.sealed_stack import Clock

from confide.client.kept_errors import bare
from confide.client.retries import RetryGuard
from confide.errors import (
    AppraisalError,
    KeyConfigError,
    RateLimited,
    StreamTruncated,
    TransportError,
)

PATH, BODY = "/v1/chat/completions", b"{}"


@pytest.fixture
def clock():
    return Clock(0.0)


@pytest.fixture
def guard(clock):
    return RetryGuard(clock)


def test_a_repetition_ends_in_the_error_of_the_first_try(guard):
    guard.remember(PATH, BODY, StreamTruncated(4))
    with pytest.raises(StreamTruncated) as caught:
        guard.refuse_repetition(PATH, BODY, "1")
    assert caught.value.received == 4


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [(PATH, BODY, None), (PATH, BODY, "0"), (PATH, b"{ }", "1"), ("/v1/embeddings", BODY, "1")],
)
def test_first_tries_and_other_requests_pass(guard, path, body, count):
    guard.remember(PATH, BODY, StreamTruncated(4))
    guard.refuse_repetition(path, body, count)


def test_a_first_try_ends_what_an_earlier_call_left(guard):
    guard.remember(PATH, BODY, StreamTruncated(4))
    guard.refuse_repetition(PATH, BODY, "0")
    guard.refuse_repetition(PATH, BODY, "1")


def test_the_same_request_of_another_thread_passes(guard):
    guard.remember(PATH, BODY, StreamTruncated(4))
    with ThreadPoolExecutor(1) as other:
        other.submit(guard.refuse_repetition, PATH, BODY, "1").result()
    with pytest.raises(StreamTruncated):
        guard.refuse_repetition(PATH, BODY, "1")


async def test_the_same_request_of_another_task_passes(guard):
    async def refuse():
        guard.refuse_repetition(PATH, BODY, "1")

    guard.remember(PATH, BODY, StreamTruncated(4))
    await asyncio.create_task(refuse())
    with pytest.raises(StreamTruncated):
        await refuse()


@pytest.mark.parametrize("error", [TransportError("no connection"), KeyConfigError("old key")])
def test_what_was_not_processed_may_be_repeated(guard, error):
    guard.remember(PATH, BODY, error)
    guard.refuse_repetition(PATH, BODY, "1")


def test_after_a_minute_nothing_is_remembered(guard, clock):
    guard.remember(PATH, BODY, StreamTruncated(4))
    clock.at = 60
    guard.refuse_repetition(PATH, BODY, "1")
    guard.remember(PATH, b"other", StreamTruncated(4))
    assert len(guard._failed) == 1


def test_the_memory_is_bounded(guard):
    for n in range(1000):
        guard.remember(PATH, str(n).encode(), StreamTruncated(n))
    assert len(guard._failed) == 256
    with pytest.raises(StreamTruncated):
        guard.refuse_repetition(PATH, b"999", "1")


class Frame:
    """Stands for a request in clear."""


def test_a_remembered_error_keeps_no_request_alive(guard):
    def fail(request):
        raise StreamTruncated(1)

    request = Frame()
    alive = weakref.ref(request)
    try:
        fail(request)
    except StreamTruncated as error:
        guard.remember(PATH, BODY, error)
    del request
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    "error",
    [
        AppraisalError("debuggable", expected=False, actual=True, code="x", hint="y"),
        RateLimited("slow", retry_after=3, request_id="r"),
    ],
)
def test_a_bare_copy_has_everything_but_its_past(error):
    copy = bare(error)
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    assert copy is not error
