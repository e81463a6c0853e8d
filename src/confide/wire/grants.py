"""The grant: what the gateway says a caller may do, bound to one sealed request.

A grant is a short-lived EdDSA JWT. It narrows rights and never unlocks data. This
module knows the claims; signing is done in the gateway, verification in the
enclave, with the key in its measured configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from confide.errors import PermissionDenied
from confide.wire import strict_json
from confide.wire.strict_json import MalformedJSON

__all__ = [
    "ALGORITHM",
    "ANY_MODEL",
    "AUDIENCE",
    "GRANT_LIFETIME_S",
    "GRANT_TYPE",
    "ISSUER",
    "OPERATIONS",
    "USAGE_PRECISIONS",
    "USAGE_TOKEN_LIFETIME_S",
    "USAGE_TOKEN_TYPE",
    "Grant",
    "usage_token_claims",
]

ALGORITHM: Final = "EdDSA"
GRANT_TYPE: Final = "confide-grant+jwt"  # header "typ"
USAGE_TOKEN_TYPE: Final = "confide-usage+jwt"  # header "typ"  # noqa: S105  a type name
ISSUER: Final = "confide-gateway"
AUDIENCE: Final = "confide-enclave"
GRANT_LIFETIME_S: Final = 60
USAGE_TOKEN_LIFETIME_S: Final = 60
ANY_MODEL: Final = "*"
OPERATIONS: Final = ("chat", "completions", "embeddings", "models", "audio")
USAGE_PRECISIONS: Final = ("exact", "bucketed")
_CLAIMS = frozenset(
    {"iss", "aud", "dom", "sub", "models", "ops", "jti", "env", "usage", "iat", "exp"}
)


@dataclass(frozen=True, slots=True)
class Grant:
    """The claims of one grant.

    Attributes:
        domain: Id of the caller's domain.
        key_id: Id of the API key, not the key.
        models: Names the domain may use, or ("*",).
        operations: Some of `OPERATIONS`.
        request_id: Id the gateway gave the request.
        envelope_digest: 32 bytes, `confide.wire.envelope.envelope_digest`.
        usage: "exact" or "bucketed", the precision the domain is billed with.
        issued_at: Unix seconds.
        expires_at: Unix seconds, 60 s later.
    """

    domain: str
    key_id: str
    models: tuple[str, ...]
    operations: tuple[str, ...]
    request_id: str
    envelope_digest: bytes
    usage: str
    issued_at: int
    expires_at: int

    @classmethod
    def issue(
        cls,
        *,
        domain: str,
        key_id: str,
        models: tuple[str, ...],
        operations: tuple[str, ...],
        request_id: str,
        envelope_digest: bytes,
        usage: str,
        now: float,
    ) -> Grant:
        """Make a grant that expires 60 s after `now` (unix seconds)."""
        issued_at = int(now)
        return cls(
            domain,
            key_id,
            models,
            operations,
            request_id,
            envelope_digest,
            usage,
            issued_at,
            issued_at + GRANT_LIFETIME_S,
        )

    def to_claims(self) -> dict[str, Any]:
        """Return the JWT claims."""
        return {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "dom": self.domain,
            "sub": self.key_id,
            "models": list(self.models),
            "ops": list(self.operations),
            "jti": self.request_id,
            "env": strict_json.b64url(self.envelope_digest),
            "usage": self.usage,
            "iat": self.issued_at,
            "exp": self.expires_at,
        }

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Grant:
        """Read claims whose signature was verified. Times are the caller's to compare.

        Raises:
            PermissionDenied: Missing, unknown or malformed claims, a lifetime over
                60 s, or another issuer or audience.
        """
        try:
            strict_json.only_members(claims, _CLAIMS, where="grant")
            if claims["iss"] != ISSUER or claims["aud"] != AUDIENCE:
                raise MalformedJSON("another issuer or audience")
            issued_at = strict_json.boolean_free_int(claims["iat"], "iat", low=0, high=1 << 40)
            expires_at = strict_json.boolean_free_int(
                claims["exp"], "exp", low=issued_at + 1, high=issued_at + GRANT_LIFETIME_S
            )
            return cls(
                domain=strict_json.text(claims["dom"], "dom"),
                key_id=strict_json.text(claims["sub"], "sub"),
                models=_names(claims["models"], "models"),
                operations=_names(claims["ops"], "ops", among=OPERATIONS),
                request_id=strict_json.text(claims["jti"], "jti"),
                envelope_digest=strict_json.b64url_bytes(claims["env"], "env", length=32),
                usage=_names([claims["usage"]], "usage", among=USAGE_PRECISIONS)[0],
                issued_at=issued_at,
                expires_at=expires_at,
            )
        except MalformedJSON as error:
            raise PermissionDenied(f"the grant is not usable: {error}", code="bad-grant") from None

    def allows(self, operation: str, model: str | None) -> bool:
        """Say whether the grant covers an operation, and a model if one is named."""
        if operation not in self.operations:
            return False
        return model is None or ANY_MODEL in self.models or model in self.models


def _names(value: object, name: str, *, among: tuple[str, ...] | None = None) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 1024:
        raise MalformedJSON(f"{name} is not a list")
    names = tuple(strict_json.text(one, name) for one in value)
    if among is not None and not set(names) <= set(among):
        raise MalformedJSON(f"{name} has an unknown entry")
    return names


def usage_token_claims(now: float) -> dict[str, Any]:
    """Return the claims of the token with which the gateway fetches usage statements.

    Args:
        now: Unix seconds; the token expires 60 s later.
    """
    issued_at = int(now)
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": issued_at,
        "exp": issued_at + USAGE_TOKEN_LIFETIME_S,
    }
