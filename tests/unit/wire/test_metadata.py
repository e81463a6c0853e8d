"""The closed header lists hold nothing a user typed."""

from confide.wire import metadata

NEVER = {"user-agent", "cookie", "x-forwarded-for", "openai-organization", "referer", "model"}


def test_no_list_holds_an_identifying_header():
    for headers in (
        metadata.REQUEST_HEADERS,
        metadata.UPSTREAM_HEADERS,
        metadata.RESPONSE_HEADERS,
        metadata.INNER_REQUEST_HEADERS,
    ):
        assert not headers & NEVER
        assert all(name == name.lower() for name in headers)


def test_the_credential_of_the_caller_ends_at_the_gateway():
    assert "authorization" in metadata.REQUEST_HEADERS
    assert "authorization" not in metadata.UPSTREAM_HEADERS
    assert "authorization" not in metadata.INNER_REQUEST_HEADERS


def test_a_caller_cannot_bring_a_grant_or_a_request_id():
    assert metadata.GRANT_HEADER not in metadata.REQUEST_HEADERS
    assert metadata.REQUEST_ID_HEADER not in metadata.REQUEST_HEADERS
