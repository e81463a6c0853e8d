"""Sign what a caller may do, bound to one sealed request.

The grant is a JWT (EdDSA, RFC 8037) with the claims of `confide.wire.grants`. It is put together
from bytes that were prepared when the caller was read: signing costs 30 us, and a general JWT
library would double that on every request for the same result. A test verifies the tokens
with such a library.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.identity.principal import Principal
from confide.wire.grants import (
    ALGORITHM,
    AUDIENCE,
    GRANT_LIFETIME_S,
    GRANT_TYPE,
    ISSUER,
    USAGE_TOKEN_LIFETIME_S,
    USAGE_TOKEN_TYPE,
    usage_token_claims,
)

__all__ = ["GrantSigner", "static_claims"]


def static_claims(principal: Principal) -> bytes:
    """Encode the claims that are the same for all requests of a caller.

    Returns:
        A JSON object without its closing brace.
    """
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "dom": principal.domain,
        "sub": principal.key_id,
        "models": list(principal.models),
        "ops": list(principal.operations),
        "usage": principal.usage,
    }
    return _json(claims)[:-1]


class GrantSigner:
    """Signs grants and usage tokens with the gateway's Ed25519 key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._sign = private_key.sign
        self._usage_token: tuple[int, bytes] = (0, b"")

    def grant(self, claims: bytes, *, request_id: str, envelope_digest: bytes, now: float) -> bytes:
        """Sign a grant for one request.

        Args:
            claims: From `static_claims`.
            request_id: The gateway's id of the request; hexadecimal digits.
            envelope_digest: 32 bytes, `confide.wire.envelope.envelope_digest`.
            now: Unix seconds; the grant expires 60 s later.

        Returns:
            The compact JWT.
        """
        issued = int(now)
        payload = b'%b,"jti":"%b","env":"%b","iat":%d,"exp":%d}' % (
            claims,
            request_id.encode("ascii"),
            _b64url(envelope_digest),
            issued,
            issued + GRANT_LIFETIME_S,
        )
        return self._compact(_GRANT_HEADER, payload)

    def usage_token(self, now: float) -> bytes:
        """Return the token that lets the gateway fetch usage statements; kept for half its life."""
        issued, token = self._usage_token
        if not token or not 0 <= now - issued < USAGE_TOKEN_LIFETIME_S / 2:
            token = self._compact(_USAGE_HEADER, _json(usage_token_claims(now)))
            self._usage_token = (int(now), token)
        return token

    def _compact(self, header: bytes, payload: bytes) -> bytes:
        signing_input = header + b"." + _b64url(payload)
        return signing_input + b"." + _b64url(self._sign(signing_input))


def _json(members: dict[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _b64url(content: bytes) -> bytes:
    # What base64.urlsafe_b64encode does, in half the time.
    return b2a_base64(content, newline=False).translate(_URL_SAFE).rstrip(b"=")


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_GRANT_HEADER: Final = _b64url(_json({"alg": ALGORITHM, "typ": GRANT_TYPE}))
_USAGE_HEADER: Final = _b64url(_json({"alg": ALGORITHM, "typ": USAGE_TOKEN_TYPE}))
