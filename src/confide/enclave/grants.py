"""Check the gateway's signed statement about a caller, before anything is opened.

A grant is an EdDSA JWT that says for which domain and API key the gateway forwarded this
one request, and which models and operations that caller may use (`confide.wire.grants`).
It is bound to the request twice: ``env`` is the digest of the request's header and
encapsulated key, ``jti`` is the request's id. It narrows rights and unlocks nothing.

A missing grant is a refusal. The rights are enforced later, inside, where the model's name
is known: the caller then gets a sealed 403.

Times: a grant lives at most 60 s; the two hosts' clocks may differ by `LEEWAY_S`. Using a
grant twice needs the same envelope twice, which the replay cache refuses.

Our gateway writes one form of header, `alg` EdDSA and `typ`, so no other is read: a token
cannot choose how it is checked. The signature is checked before anything is parsed.

Source: protocol.md section 5; RFC 7519, RFC 8037.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from confide.errors import AuthenticationError, PermissionDenied
from confide.wire import strict_json
from confide.wire.grants import (
    ALGORITHM,
    AUDIENCE,
    GRANT_TYPE,
    ISSUER,
    USAGE_TOKEN_LIFETIME_S,
    USAGE_TOKEN_TYPE,
    Grant,
)

__all__ = ["LEEWAY_S", "GrantVerifier"]

LEEWAY_S: Final = 10
"""How far the gateway's clock may be from ours, in seconds."""

_MAX_TOKEN: Final = 16 * 1024


class GrantVerifier:
    """Verifies grants and usage-pull tokens under the gateway's measured public key.

    Args:
        gateway_public_key: Ed25519 public key, 32 bytes.
        now: Unix time in seconds.
    """

    def __init__(self, gateway_public_key: bytes, now: Callable[[], float]) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(gateway_public_key)
        self._now = now

    def verify(self, token: str, *, envelope_digest: bytes, request_id: str) -> Grant:
        """Check one grant.

        Args:
            token: The value of Confide-Grant; "" if the header is absent.
            envelope_digest: SHA-256 of this request's header and encapsulated key.
            request_id: The value of Confide-Request-Id.

        Raises:
            AuthenticationError: There is no grant (401).
            PermissionDenied: The grant is not valid for this request (403). No detail.
        """
        if not token:
            raise AuthenticationError("a grant of the gateway is needed", code="grant-missing")
        try:
            grant = Grant.from_claims(self._claims(token, GRANT_TYPE))
        except PermissionDenied:
            raise _refusal() from None
        if not self._is_timely(grant.issued_at, grant.expires_at):
            raise _refusal()
        if grant.envelope_digest != envelope_digest or grant.request_id != request_id:
            raise _refusal()
        return grant

    def verify_usage_pull(self, authorization: str) -> None:
        """Check the token with which the gateway fetches usage statements.

        Args:
            authorization: The Authorization header's value; "" if absent.

        Raises:
            AuthenticationError: There is no bearer token (401).
            PermissionDenied: The token is not valid (403).
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationError("a usage token is needed", code="grant-missing")
        claims = self._claims(token.strip(), USAGE_TOKEN_TYPE)
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int:
            raise _refusal()
        if not 0 < expires - issued <= USAGE_TOKEN_LIFETIME_S:
            raise _refusal()
        if not self._is_timely(issued, expires):
            raise _refusal()

    def _claims(self, token: str, kind: str) -> dict[str, Any]:
        """Verify a compact JWT under the one key, then read it."""
        if len(token) > _MAX_TOKEN:
            raise _refusal()
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        try:
            self._key.verify(
                strict_json.b64url_bytes(signature, "signature", length=64), signed.encode("ascii")
            )
            kept = _object(header) == {"alg": ALGORITHM, "typ": kind}
            claims = _object(payload)
        except (InvalidSignature, ValueError):
            raise _refusal() from None
        if not kept or claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
            raise _refusal()
        if not claims.keys() >= {"iat", "exp"}:
            raise _refusal()
        return claims

    def _is_timely(self, issued_at: int, expires_at: int) -> bool:
        now = self._now()
        return issued_at - LEEWAY_S <= now < expires_at + LEEWAY_S


def _object(segment: str) -> dict[str, Any]:
    return strict_json.object_of(strict_json.b64url_bytes(segment, "segment"), max_bytes=_MAX_TOKEN)


def _refusal() -> PermissionDenied:
    return PermissionDenied("the grant is not valid for this request", code="grant-refused")
