"""Padded lengths are the documented buckets."""

import pytest

from confide.errors import ConfigError
from confide.sealing.padding import (
    PADDING_COMMENT,
    PaddingProfile,
    comment_chunk,
    pad_request,
    pad_response,
    padme,
)
from confide.wire.frames import decode_varint

KIB, MIB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("length", "padded"),
    [(0, 4 * KIB), (4 * KIB, 4 * KIB), (4 * KIB + 1, 8 * KIB), (MIB - 1, MIB), (MIB, MIB)],
)
def test_requests_are_padded_to_powers_of_two(length, padded):
    assert pad_request(length) == padded


@pytest.mark.parametrize(("length", "padded"), [(0, KIB), (KIB + 1, 2 * KIB), (700_000, MIB)])
def test_answers_are_padded_to_powers_of_two(length, padded):
    assert pad_response(length) == padded


def test_above_a_mebibyte_padding_costs_at_most_an_eighth():
    for length in range(MIB + 1, 64 * MIB, 1_234_567):
        assert length <= pad_request(length) <= length * 1.125


# Values of algorithm 1 computed by hand: E = floor(log2 L), S = floor(log2 E) + 1.
@pytest.mark.parametrize(
    ("length", "padded"), [(0, 0), (1, 1), (9, 10), (100, 104), (1000, 1024), (10_000, 10_240)]
)
def test_padme_rounds_as_in_the_paper(length, padded):
    assert padme(length) == padded


@pytest.mark.parametrize("length", [*range(15, 200), 1000, 16_000])
def test_a_comment_chunk_has_exactly_the_length_asked_for(length):
    chunk = comment_chunk(length)
    content, start = decode_varint(chunk)
    assert len(chunk) == length == start + content
    assert chunk[start:].startswith(PADDING_COMMENT)
    assert chunk.index(b"\n") == length - 1


@pytest.mark.parametrize(("events", "multiple"), [(1, 256), (8, 256), (9, 512)])
def test_more_events_choose_the_larger_bucket(events, multiple):
    content = b"data: x\n\n" * events
    padded = 700 + len(PaddingProfile("bucket").comment_for(700, content))
    assert padded % multiple == 0
    assert padded < 700 + multiple + 15


def test_profile_off_pads_nothing():
    profile = PaddingProfile.parse("off")
    assert profile.pad_request(5) == profile.pad_response(5) == 5
    assert profile.comment_for(5, b"") == b""


def test_a_chunk_that_already_fills_its_bucket_gets_no_comment():
    assert PaddingProfile("bucket").comment_for(512, b"x") == b""


def test_a_chunk_of_padding_only_is_not_empty():
    assert len(PaddingProfile("constant").comment_for(0, b"")) == 1024


@pytest.mark.parametrize(
    ("name", "tick_ms"), [("random", 1), ("", 1), ("off", -1), ("off", 60_001)]
)
def test_a_profile_that_does_not_exist_is_refused(name, tick_ms):
    with pytest.raises(ConfigError):
        PaddingProfile.parse(name, tick_ms)
