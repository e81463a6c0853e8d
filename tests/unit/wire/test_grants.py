"""A grant narrows rights, for one request and one minute."""

import pytest

from confide.errors import PermissionDenied
from confide.wire.grants import Grant, usage_token_claims

GRANT = Grant.issue(
    domain="d1",
    key_id="k1",
    models=("small", "large"),
    operations=("chat", "models"),
    request_id="r1",
    envelope_digest=bytes(32),
    usage="bucketed",
    now=1_700_000_000.9,
)


def test_claims_round_trip():
    assert Grant.from_claims(GRANT.to_claims()) == GRANT
    assert GRANT.to_claims()["exp"] - GRANT.to_claims()["iat"] == 60


def test_only_listed_operations_and_models_are_allowed():
    assert GRANT.allows("chat", "small")
    assert GRANT.allows("models", None)
    assert not GRANT.allows("chat", "other")
    assert not GRANT.allows("embeddings", "small")


def test_a_star_stands_for_any_model_but_not_any_operation():
    claims = GRANT.to_claims() | {"models": ["*"]}
    grant = Grant.from_claims(claims)
    assert grant.allows("chat", "anything")
    assert not grant.allows("embeddings", "anything")


REFUSED = [
    {"iss": "someone"},
    {"aud": "someone"},
    {"dom": ""},
    {"sub": 5},
    {"models": "small"},
    {"models": [""]},
    {"models": ["m"] * 1025},
    {"ops": ["delete"]},
    {"jti": None},
    {"env": "AA"},
    {"usage": "free"},
    {"iat": True},
    {"exp": 1_700_000_061},
    {"exp": 1_700_000_000},
    {"more": 1},
]


@pytest.mark.parametrize("change", REFUSED, ids=str)
def test_a_grant_that_is_not_exactly_right_is_refused(change):
    with pytest.raises(PermissionDenied) as caught:
        Grant.from_claims(GRANT.to_claims() | change)
    assert caught.value.code == "bad-grant"


@pytest.mark.parametrize("name", sorted(GRANT.to_claims()))
def test_a_grant_without_a_claim_is_refused(name):
    claims = GRANT.to_claims()
    del claims[name]
    with pytest.raises(PermissionDenied):
        Grant.from_claims(claims)


def test_a_usage_token_lives_a_minute():
    claims = usage_token_claims(100.5)
    assert (claims["iat"], claims["exp"], claims["aud"]) == (100, 160, "confide-enclave")
