"""What travels inside the seal: everything but the listed names, within bounds."""

import pytest

from confide.errors import InvalidRequest
from confide.wire.inner_headers import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    answer_fields,
    answer_travels,
    check_fields,
    forwarded_fields,
    request_fields,
    travels,
)

FEATURES = (
    *("openai-beta", "anthropic-beta", "x-feature", "x-ratelimit-group", "future-parameter"),
    *("content-type", "accept", "anthropic-version", "x-client-request-id", "openai-safety"),
)
CREDENTIALS = (
    *("authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key"),
    *("x-auth-user", "x-session-token", "x-amz-security-token", "my-client-secret"),
)
FINGERPRINTS = (
    *("user-agent", "x-stainless-os", "accept-language", "sec-ch-ua", "origin", "referer"),
    *("forwarded", "x-forwarded-for", "via", "x-real-ip", "openai-organization", "openai-project"),
    *("traceparent", "tracestate", "baggage", "x-b3-traceid", "http-referer", "x-title", "x-app"),
    *("originator", "session_id", "cf-connecting-ip", "priority", "date"),
)
PLUMBING = (
    *("connection", "keep-alive", "te", "upgrade", "transfer-encoding", "content-length", "host"),
    *("accept-encoding", "content-encoding", "content-digest", "expect", "if-none-match", "range"),
    *("confide-document", "confide-grant", "x-confide-origin"),
)
STEERING = (
    *("x-request-id", "x-data-parallel-rank", "idempotency-key", "x-gateway-destination-endpoint"),
    *("x-http-method-override", "x-rewrite-url", "x-original-url", "x-portkey-custom-host"),
    "serve_multiplexed_model_id",
)
TO_BROWSERS = (
    *(
        "access-control-allow-origin",
        "set-cookie",
        "location",
        "refresh",
        "link",
        "clear-site-data",
    ),
    *("content-security-policy", "strict-transport-security", "www-authenticate"),
)
ABOUT_ENGINES = (
    *("server", "via", "alt-svc", "x-powered-by", "x-served-by", "cf-ray", "openai-organization"),
    *("x-request-id", "request-id", "x-confide-origin", "confide-request-id", "x-should-retry"),
    *("content-length", "transfer-encoding", "connection", "x-litellm-model-api-base"),
)


@pytest.mark.parametrize("name", FEATURES)
def test_what_nobody_here_knows_travels(name):
    assert travels(name)


@pytest.mark.parametrize("name", [*CREDENTIALS, *FINGERPRINTS, *PLUMBING, *STEERING])
def test_what_authenticates_identifies_or_steers_does_not_travel(name):
    assert not travels(name)
    assert request_fields([(name.upper().encode(), b"x")]) == ()
    assert forwarded_fields(((name.encode(), b"x"),)) == ()


@pytest.mark.parametrize("name", ["x-request-id", "x-forwarded-for", "x-api-key", "proxy-x"])
def test_an_underscore_is_no_way_around_the_list(name):
    assert not travels(name.replace("-", "_"))


@pytest.mark.parametrize("name", [*TO_BROWSERS, *ABOUT_ENGINES])
def test_what_commands_a_browser_or_names_the_engine_does_not_come_back(name):
    assert not answer_travels(name)
    assert answer_fields([(name.title().encode(), b"x")]) == ()


@pytest.mark.parametrize(
    "name",
    ["openai-processing-ms", "openai-version", "x-ratelimit-remaining-tokens",
     "apim-request-id", "x-future"],
)  # fmt: skip
def test_other_headers_of_an_answer_come_back(name):
    assert answer_fields([(name.title().encode(), b" v\t")]) == ((name.encode(), b"v"),)


def test_order_and_repetition_are_kept():
    given = [(b"X-B", b"2"), (b"x-a", b"1"), (b"user-agent", b"me"), (b"X-b", b" 3 ")]
    assert request_fields(given) == ((b"x-b", b"2"), (b"x-a", b"1"), (b"x-b", b"3"))


def test_what_the_connection_header_names_goes_no_further():
    given = ((b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-far", b"2"))
    assert request_fields(given) == ((b"x-far", b"2"),)
    assert forwarded_fields(given) == ((b"x-far", b"2"),)
    assert answer_fields(given) == ((b"x-far", b"2"),)


def test_an_engine_gets_neither_the_protocols_fields_nor_what_the_enclave_says_itself():
    inner = [(b"date", b"d"), (b"confide-document", b"0"), (b"content-type", b"a/b")]
    assert forwarded_fields((*inner, (b"accept", b"*/*"), (b"x-a", b"1"))) == ((b"x-a", b"1"),)


def refused(headers):
    found = []
    for check in (request_fields, forwarded_fields, check_fields):
        with pytest.raises(InvalidRequest) as caught:
            check(headers)
        found.append((caught.value.status, caught.value.code))
    assert len(set(found)) == 1
    return found[0]


def test_headers_at_the_bounds_are_accepted_and_beyond_refused():
    most = tuple((b"x-%d" % n, b"") for n in range(MAX_HEADERS))
    longest = ((b"x-a", b"v" * (MAX_HEADER_BYTES - 3)),)
    for headers in (most, longest):
        assert request_fields(headers) == forwarded_fields(headers) == headers
    assert refused((*most, (b"x-one-more", b""))) == (431, "headers-too-large")
    assert refused(((b"x-a", b"v" * (MAX_HEADER_BYTES - 2)),)) == (431, "headers-too-large")


def test_what_does_not_travel_does_not_count():
    long = (b"cookie", b"v" * 2 * MAX_HEADER_BYTES)
    assert request_fields([long, (b"x-a", b"1")]) == ((b"x-a", b"1"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"x a", b"1"), (b"", b"1"), (b":path", b"1"), (b"x-\xe9", b"1"), (b"x-a", b"1\r\nx-b: 2"),
     (b"x-a", b"1\n2"), (b"x-a", b"1\x002"), (b"x-a", b"\x7f"), (b"x-a", b"\xff")],
)  # fmt: skip
def test_what_is_no_header_is_refused_and_left_out_of_an_answer(name, value):
    assert refused(((name, value),)) == (400, "header-malformed")
    assert answer_fields([(name, value), (b"x-b", b"2")]) == ((b"x-b", b"2"),)


def test_a_refusal_quotes_neither_name_nor_value():
    with pytest.raises(InvalidRequest) as caught:
        request_fields([(b"x-private", b"se\x00cret")])
    assert "private" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_headers_of_an_answer_end_at_the_bound():
    many = [(b"x-%d" % n, b"") for n in range(MAX_HEADERS + 5)]
    assert len(answer_fields(many)) == MAX_HEADERS
    long = [(b"x-a", b"1"), (b"x-b", b"v" * MAX_HEADER_BYTES), (b"x-c", b"2")]
    assert answer_fields(long) == ((b"x-a", b"1"),)
