"""Problem documents keep their meaning, and never say why something did not open."""

import json

import pytest

from confide import errors
from confide.wire.problems import (
    DATE_TYPE,
    MAX_PROBLEM,
    OHTTP_KEY_TYPE,
    Problem,
    error_for,
    problem_for,
)

BEFORE_OPENING = [
    errors.OpenError(),
    errors.StreamTruncated(3),
    errors.StreamClosed(),
    errors.KeyConfigError("unknown key id 3"),
    errors.SealingError("malformed", code="malformed-message"),
]


@pytest.mark.parametrize("error", BEFORE_OPENING, ids=lambda e: type(e).__name__)
def test_every_failure_to_open_has_one_shape(error):
    assert problem_for(error) == problem_for(errors.OpenError())
    assert problem_for(error).type == OHTTP_KEY_TYPE
    assert problem_for(error).status == 400


def test_a_replay_says_that_it_is_about_the_date():
    problem = problem_for(errors.ReplayError("seen"), request_id="r")
    assert (problem.type, problem.code, problem.request_id) == (DATE_TYPE, "date", "r")


def test_a_body_over_the_limit_is_413():
    assert problem_for(errors.SealingError("x", code="too-large")).status == 413


def test_an_error_that_is_none_of_ours_says_nothing():
    problem = problem_for(errors.ConfigError("secret path"))
    assert problem.status == 500
    assert b"secret" not in problem.encode()


GATEWAY = [
    errors.AuthenticationError("no"),
    errors.AuthenticationError("old", code="key-expired"),
    errors.PermissionDenied("no"),
    errors.RouteNotFound("no"),
    errors.RequestTooLarge("no"),
    errors.RateLimited("slow", retry_after=2.5),
    errors.RateLimited("slow", retry_after=1, code="too-many-streams"),
    errors.NoEnclaveAvailable("none"),
    errors.KeyConfigError("x"),
    errors.ReplayError("x"),
]


@pytest.mark.parametrize("error", GATEWAY, ids=lambda e: e.code)
def test_an_error_crosses_the_wire_as_itself(error):
    received = error_for(Problem.parse(problem_for(error, request_id="id-1").encode()))
    assert type(received) is type(error)
    assert received.code == error.code
    if isinstance(error, errors.GatewayError):
        assert (received.status, received.request_id) == (error.status, "id-1")
    if isinstance(error, errors.RateLimited):
        assert received.retry_after == error.retry_after


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AuthenticationError),
        (403, errors.PermissionDenied),
        (404, errors.RouteNotFound),
        (413, errors.RequestTooLarge),
        (429, errors.RateLimited),
        (502, errors.GatewayError),
        (503, errors.NoEnclaveAvailable),
    ],
)
def test_a_problem_of_an_unknown_type_goes_by_its_status(status, kind):
    assert type(error_for(Problem.parse(json.dumps({"status": status}).encode()))) is kind


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"status":"500"}',
        b'{"status":99}',
        b'{"status":true}',
        b"[" * 10_000,
        b" " * (MAX_PROBLEM + 1),
        b"\xff",
    ],
)
def test_anything_else_is_a_plain_gateway_error(raw):
    with pytest.raises(errors.GatewayError) as caught:
        Problem.parse(raw)
    assert caught.value.code == "not-a-problem"


def test_untrusted_text_is_cut_and_loses_control_characters():
    raw = {"status": 500, "title": "a\x1b[31m\nb", "detail": "x" * 10_000, "retry_after_s": -1}
    problem = Problem.parse(json.dumps(raw).encode())
    assert problem.title == "a [31m b"
    assert len(problem.detail) == 500
    assert problem.retry_after_s is None


def test_unknown_members_are_ignored():
    assert Problem.parse(b'{"status":500,"more":[1]}').status == 500


def test_members_without_a_value_are_left_out():
    assert set(json.loads(Problem.of("no-enclave", 503).encode())) == {
        "type",
        "title",
        "status",
        "code",
    }
