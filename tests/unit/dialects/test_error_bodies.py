"""Every error of ours has an OpenAI shape that says whether to try again."""

import json

import pytest

from confide import errors
from confide.dialects.error_bodies import openai_error, openai_error_event
from confide.dialects.sse import EventParser


def body_of(answer):
    return json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("error", "status", "type_", "code"),
    [
        (errors.AuthenticationError("no"), 401, "invalid_request_error", "invalid_api_key"),
        (
            errors.AuthenticationError("old", code="key-expired"),
            401,
            "invalid_request_error",
            "key_expired",
        ),
        (
            errors.RateLimited("slow", retry_after=1.2),
            429,
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        (errors.RequestTooLarge("big"), 413, "invalid_request_error", "request_too_large"),
        (errors.NoEnclaveAvailable("none"), 503, "server_error", "no_enclave"),
        (errors.BindingError("other key"), 502, "attestation_error", "binding.report_data"),
        (errors.TransportError("gone"), 503, "connection_error", "gateway_unreachable"),
        (
            errors.TransportError("late", code="timeout"),
            504,
            "connection_error",
            "gateway_timeout",
        ),
        (
            errors.TransportError("cut", code="cut-off"),
            502,
            "connection_error",
            "gateway_connection_lost",
        ),
        (errors.StreamTruncated(3), 502, "sealing_error", "stream_truncated"),
        (errors.OpenError(), 502, "sealing_error", "answer_not_authentic"),
        (errors.KeyConfigError("old"), 503, "sealing_error", "key_rejected"),
        (errors.ReplayError("date"), 502, "sealing_error", "date_refused"),
        (errors.ModelNotFound("m"), 404, "invalid_request_error", "model_not_found"),
        (errors.ContextTooLong("c"), 400, "invalid_request_error", "context_length_exceeded"),
        (errors.ConfideError("odd", code="odd-thing"), 500, "server_error", "odd_thing"),
    ],
)
def test_each_error_has_its_status_type_and_code(error, status, type_, code):
    answer = openai_error(error)
    assert (answer.status, body_of(answer)["type"], body_of(answer)["code"]) == (
        status,
        type_,
        code,
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.StreamTruncated(0),
        errors.OpenError(),
        errors.TransportError("late", code="timeout"),
        errors.TransportError("cut", code="cut-off"),
        errors.GatewayError("bad gateway"),
        errors.AppraisalError("debuggable", expected=False, actual=True),
    ],
)
def test_nothing_that_may_have_been_processed_or_was_refused_asks_for_a_retry(error):
    assert dict(openai_error(error).headers)["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimited("slow", retry_after=1),
        errors.NoEnclaveAvailable("none"),
        errors.TransportError("gone"),
        errors.KeyConfigError("old"),
    ],
)
def test_what_was_certainly_not_processed_leaves_the_retry_to_the_sdk(error):
    assert "x-should-retry" not in dict(openai_error(error).headers)


def test_retry_after_is_rounded_up_to_whole_seconds():
    answer = openai_error(errors.RateLimited("slow", retry_after=1.2))
    assert dict(answer.headers)["retry-after"] == "2"


def test_origin_and_request_id_are_headers():
    answer = openai_error(errors.GatewayError("x", request_id="01J9"), origin="gateway")
    headers = dict(answer.headers)
    assert headers["x-confide-origin"] == "gateway"
    assert headers["confide-request-id"] == headers["x-request-id"] == "01J9"


def test_the_hint_is_part_of_the_message_and_the_param_is_kept():
    answer = openai_error(errors.InvalidRequest("bad", param="messages", hint="see the docs"))
    assert body_of(answer)["message"] == "bad (see the docs)"
    assert body_of(answer)["param"] == "messages"


def test_control_characters_and_length_of_foreign_text_are_limited():
    answer = openai_error(errors.GatewayError("\x1b[31m" + "x" * 10_000))
    assert "\x1b" not in body_of(answer)["message"]
    assert len(body_of(answer)["message"]) == 500


def test_the_error_event_is_one_event_and_no_normal_end():
    (event,) = EventParser().feed(openai_error_event(errors.StreamTruncated(2)))
    assert json.loads(event.data)["error"]["code"] == "stream_truncated"
