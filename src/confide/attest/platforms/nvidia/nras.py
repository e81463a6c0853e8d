"""Check a token of NVIDIA's remote attestation service (NRAS), offline.

The service takes a device's report and answers with a detached EAT: one overall token and
one per device, whose digests are in the overall one:

    [["JWT", "<overall>"], {"GPU-0": "<token>", "GPU-1": "<token>"}]

This is a second opinion and nothing the verifier needs: it makes NVIDIA a party that sees
every attestation, and the token says no more than the report does. Signing keys live two
days, so the caller brings the keys, from a JWKS or a certificate chain it trusts; nothing
is fetched here and no key in a token is believed. NVIDIA's local tool writes tokens with
`alg: none`; those are refused, as is everything but ES384.

Sources: RFC 7515, RFC 7519 section 4.1, RFC 9711 section 4.2.18 (detached submodules).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP384R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from confide.attest.platforms.nvidia.chain import MALFORMED
from confide.attest.strict_json import read_object
from confide.errors import AppraisalError, BindingError, EndorsementError, EvidenceError
from confide.wire.strict_json import MalformedJSON, b64url_bytes

__all__ = [
    "MAX_TOKENS",
    "TokenKeys",
    "VerifiedTokens",
    "key_from_x5c",
    "read_jwks",
    "verify_tokens",
]

MAX_TOKENS: Final = 256 * 1024
"""Most bytes of a detached EAT."""

TokenKeys = Mapping[str, EllipticCurvePublicKey]
"""P-384 keys by key id ("kid")."""

_ALGORITHM: Final = "ES384"
_COORDINATE: Final = 48
_MAX_DEVICES: Final = 16
_MAX_KEYS: Final = 64
_MAX_CHAIN: Final = 8
_MAX_TIME: Final = 253_402_300_799  # the year 9999
_DIGESTS: Final = ("SHA-256", "SHA256")


@dataclass(frozen=True)
class VerifiedTokens:
    """What the service said, once every signature and digest held.

    Attributes:
        devices: Claims by submodule name, such as "GPU-0".
        expires_at: Earliest end of any token.
    """

    devices: Mapping[str, Mapping[str, object]] = field(repr=False)
    expires_at: datetime


def verify_tokens(raw: bytes, *, keys: TokenKeys, nonce: bytes, at: datetime) -> VerifiedTokens:
    """Check a detached EAT.

    Args:
        raw: JSON, at most 256 KiB, untrusted.
        keys: Keys the caller trusts to be the service's.
        nonce: 32 bytes that the devices and the service were asked with.
        at: Now.

    Raises:
        EvidenceError: nv.token_alg: another algorithm than ES384, "none" above all.
        EndorsementError: nv.token_signature: malformed, unknown key, a signature or a digest
            that does not hold. nv.token_expired: outside its dates.
        BindingError: nv.token_nonce: the answer to another nonce.
        AppraisalError: nv.token_result: genuine, and the service refused the devices.
    """
    overall_text, detached = _take_apart(raw)
    overall = _open(overall_text, keys, nonce, at)
    stated = _digests(overall.get("submods"))
    if stated.keys() != detached.keys():
        raise _bad("the overall token is about other devices")
    devices = {}
    for name, text in detached.items():
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()
        if not hmac.compare_digest(digest, stated[name]):
            raise _bad(f"the token of {name} is not the one the overall token names")
        devices[name] = _open(text, keys, nonce, at)
    result = overall.get("x-nvidia-overall-att-result")
    if result is not True:
        raise AppraisalError(
            "x-nvidia-overall-att-result", expected=True, actual=result, code="nv.token_result"
        )
    ends = [_moment(token, "exp") for token in (overall, *devices.values())]
    return VerifiedTokens(devices, min(ends))


def read_jwks(raw: bytes) -> TokenKeys:
    """Read the P-384 signing keys of a JWKS that the caller trusts.

    Args:
        raw: JSON, at most 256 KiB. Keys of other types are left out.

    Raises:
        EndorsementError: nv.token_signature: no JWKS, or no usable key in it.
    """
    members = _object(raw, MAX_TOKENS)
    listed = members.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise _bad(f"a JWKS lists at most {_MAX_KEYS} keys")
    found = dict(filter(None, map(_jwk, listed)))
    if not found:
        raise _bad("the JWKS holds no P-384 key with a key id")
    return found


def key_from_x5c(
    x5c: Sequence[str], *, anchors: Sequence[x509.Certificate], at: datetime
) -> EllipticCurvePublicKey:
    """Return the key of a certificate chain, as a JWK's `x5c` holds it.

    NVIDIA's chain for its service ends at an authority that is published nowhere in a form
    to be pinned here, so the caller says whom it trusts.

    Args:
        x5c: Base64 DER certificates, leaf first (RFC 7517 section 4.7).
        anchors: Certificates the caller trusts; one of them, or one issued by one of them,
            must be in the chain.
        at: Now.

    Raises:
        EndorsementError: nv.token_signature, or nv.token_expired: a certificate is outside
            its dates.
    """
    if not 1 <= len(x5c) <= _MAX_CHAIN:
        raise _bad(f"a chain of {len(x5c)} certificates; 1 to {_MAX_CHAIN} are accepted")
    try:
        chain = [
            x509.load_der_x509_certificate(binascii.a2b_base64(text, strict_mode=True))
            for text in x5c
        ]
        _check_links(chain, anchors)
        key = chain[0].public_key()
    except (InvalidSignature, *MALFORMED):
        raise _bad("the chain of the signing key does not hold") from None
    for certificate in chain:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise EndorsementError(
                "a certificate of the signing key is out of date", code="nv.token_expired"
            )
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise _bad("the signing key is not of P-384")
    return key


def _check_links(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> None:
    """Walk up until a trusted certificate; raise InvalidSignature if none comes."""
    for number, certificate in enumerate(chain):
        if certificate in anchors:
            return
        above = [*anchors, *chain[number + 1 : number + 2]]
        issuers = [one for one in above if one.subject == certificate.issuer]
        for issuer in issuers:
            constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
            if not constraints.ca:
                raise InvalidSignature
            certificate.verify_directly_issued_by(issuer)
            if issuer in anchors:
                return
        if not issuers:
            raise InvalidSignature
    raise InvalidSignature


def _take_apart(raw: bytes) -> tuple[str, Mapping[str, str]]:
    """Return the overall token and those of the devices, by name."""
    if len(raw) > MAX_TOKENS:
        raise _bad(f"{len(raw)} bytes of tokens; at most {MAX_TOKENS}")
    try:
        # The reader takes objects only, so the list becomes the one member of one.
        parsed = read_object(b'{"eat":' + raw + b"}", limit=MAX_TOKENS + 16)
    except EvidenceError as error:
        raise _bad(f"detached EAT: {error}") from None
    match parsed:
        case {"eat": [["JWT", str(overall)], dict(devices)], **rest} if not rest:
            pass
        case _:
            raise _bad("not a detached EAT: one overall token, then tokens by device")
    texts = {name: text for name, text in devices.items() if isinstance(text, str)}
    ascii_only = all(text.isascii() for text in (overall, *texts.values()))
    if len(texts) != len(devices) or not 1 <= len(texts) <= _MAX_DEVICES or not ascii_only:
        raise _bad(f"1 to {_MAX_DEVICES} tokens of devices are accepted")
    return overall, texts


def _open(token: str, keys: TokenKeys, nonce: bytes, at: datetime) -> Mapping[str, object]:
    """Check one token: algorithm, signature, dates, nonce, in this order."""
    parts = token.split(".")
    if len(parts) != 3:
        raise _bad("a token has three parts")
    header = _object(_decode(parts[0]), MAX_TOKENS)
    if header.get("alg") != _ALGORITHM or "crit" in header:
        raise EvidenceError(
            f"a token with the algorithm {str(header.get('alg'))[:16]!r}; only {_ALGORITHM} is "
            "accepted",
            code="nv.token_alg",
        )
    key = keys.get(str(header.get("kid")))
    if key is None:
        raise _bad("the token names a signing key that is not among the trusted ones")
    _check_signature(key, _decode(parts[2]), f"{parts[0]}.{parts[1]}".encode("ascii"))
    claims = _object(_decode(parts[1]), MAX_TOKENS)
    if not max(_moment(claims, "nbf"), _moment(claims, "iat")) <= at < _moment(claims, "exp"):
        raise EndorsementError("a token is outside its dates", code="nv.token_expired")
    if claims.get("eat_nonce") != nonce.hex() or len(nonce) != 32:
        raise BindingError("a token answers another nonce", code="nv.token_nonce")
    return claims


def _check_signature(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> None:
    r, s = signature[:_COORDINATE], signature[_COORDINATE:]
    try:
        if len(signature) != 2 * _COORDINATE:
            raise InvalidSignature
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(der, signed, ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise _bad("the signature of a token does not hold") from None


def _digests(value: object) -> Mapping[str, str]:
    """Read `submods`: name to ["DIGEST", ["SHA-256", hex]]."""
    if not isinstance(value, dict):
        raise _bad("the overall token names no device")
    found = {}
    for name, entry in value.items():
        match entry:
            case ["DIGEST", [str(algorithm), str(digest)]] if algorithm in _DIGESTS:
                found[name] = digest.lower()
            case _:
                raise _bad("the overall token names a device otherwise than by SHA-256")
    return found


def _moment(claims: Mapping[str, object], name: str) -> datetime:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_TIME:
        raise _bad(f"a token without a time {name}")
    return datetime.fromtimestamp(value, tz=UTC)


def _jwk(value: object) -> tuple[str, EllipticCurvePublicKey] | None:
    if not isinstance(value, dict) or value.get("kty") != "EC" or value.get("crv") != "P-384":
        return None
    kid, x, y = value.get("kid"), value.get("x"), value.get("y")
    if not isinstance(kid, str) or not isinstance(x, str) or not isinstance(y, str):
        return None
    try:
        numbers = EllipticCurvePublicNumbers(
            int.from_bytes(_decode(x), "big"), int.from_bytes(_decode(y), "big"), SECP384R1()
        )
        return kid, numbers.public_key()
    except ValueError:
        raise _bad("a key of the JWKS is no point of P-384") from None


def _decode(text: str) -> bytes:
    try:
        return b64url_bytes(text, "token")
    except MalformedJSON:
        raise _bad("a token that is not base64url") from None


def _object(raw: bytes, limit: int) -> Mapping[str, object]:
    try:
        return read_object(raw, limit=limit)
    except EvidenceError as error:
        raise _bad(f"a token that is not JSON: {error}") from None


def _bad(message: str) -> EndorsementError:
    return EndorsementError(message, code="nv.token_signature")
