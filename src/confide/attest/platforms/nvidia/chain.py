"""Check NVIDIA's certificate chains: device identity and reference manifests.

A chain is given leaf first and ends with a root that is pinned here by the SHA-256 of the
certificate and of its public key. Every key is P-384 and every signature ECDSA with
SHA-384; nothing else has been seen, so nothing else is accepted.

Sources: RFC 5280 section 6.1, without policies and name constraints, which these chains do
not use and which are refused when marked critical.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confide.errors import EndorsementError

__all__ = [
    "DEVICE_ROOT",
    "MALFORMED",
    "MAX_CHAIN",
    "MAX_DEPTH",
    "RIM_ROOT",
    "ChainKind",
    "PinnedRoot",
    "check_chain",
    "device_chain",
    "key_of",
    "read_der_chain",
    "read_pem_chain",
    "rim_chain",
]

MAX_CHAIN: Final = 64 * 1024
"""Largest chain, in bytes of PEM."""
MAX_DEPTH: Final = 8
"""Most certificates of a chain; NVIDIA's have four or five."""

MALFORMED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""What `cryptography.x509` raises about bytes that are no usable certificate.

It warns about some that later versions will refuse; where warnings are errors, so do we."""

_PEM: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class PinnedRoot:
    """A root that needs no further proof.

    Attributes:
        name: For people.
        certificate_sha256: SHA-256 of the DER certificate, lower-case hex.
        spki_sha256: SHA-256 of its SubjectPublicKeyInfo, lower-case hex.
    """

    name: str
    certificate_sha256: str
    spki_sha256: str


DEVICE_ROOT: Final = PinnedRoot(
    "NVIDIA Device Identity CA",
    "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
    "a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4",
)
RIM_ROOT: Final = PinnedRoot(
    "NVIDIA CoRIM signing Root CA",
    "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1",
    "dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3",
)


DEVICE_ENDORSEMENT_CODES: Final = {
    "root_not_pinned": "nv.root_not_pinned",
    "chain_signature": "nv.chain_signature",
    "cert_expired": "nv.cert_expired",
}
RIM_ENDORSEMENT_CODES: Final = {
    "root_not_pinned": "rim.root_not_pinned",
    "chain_signature": "rim.chain_signature",
    "cert_expired": "rim.cert_expired",
}


@dataclass(frozen=True)
class ChainKind:
    """What a chain is for: its roots and the codes of its refusals.

    Attributes:
        codes: Code of each refusal: root_not_pinned, chain_signature, cert_expired.
        roots: Accepted roots. Tests of this module bring their own.
    """

    codes: Mapping[str, str]
    roots: tuple[PinnedRoot, ...]

    def refuse(self, code: str, message: str) -> EndorsementError:
        """Make the error of one check of this chain."""
        return EndorsementError(message, code=self.codes[code])


def device_chain(roots: tuple[PinnedRoot, ...] = (DEVICE_ROOT,)) -> ChainKind:
    """Return the kind of a device's chain."""
    return ChainKind(DEVICE_ENDORSEMENT_CODES, roots)


def rim_chain(roots: tuple[PinnedRoot, ...] = (RIM_ROOT,)) -> ChainKind:
    """Return the kind of a reference manifest's chain."""
    return ChainKind(RIM_ENDORSEMENT_CODES, roots)


def read_pem_chain(pem: bytes, kind: ChainKind) -> tuple[x509.Certificate, ...]:
    """Read a chain from PEM, leaf first.

    Args:
        pem: At most 64 KiB and 8 certificates, counted before any is decoded.
        kind: What the chain is for.

    Raises:
        EndorsementError: .chain_signature: too large, no certificate, or not readable.
    """
    if len(pem) > MAX_CHAIN:
        raise kind.refuse("chain_signature", f"a chain of {len(pem)} bytes; at most {MAX_CHAIN}")
    _check_depth(pem.count(_PEM), kind)
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except MALFORMED:
        raise kind.refuse("chain_signature", "a certificate of the chain is malformed") from None


def read_der_chain(certificates: Sequence[bytes], kind: ChainKind) -> tuple[x509.Certificate, ...]:
    """Read a chain from DER certificates, leaf first. As `read_pem_chain`."""
    _check_depth(len(certificates), kind)
    if sum(len(der) for der in certificates) > MAX_CHAIN:
        raise kind.refuse("chain_signature", f"a chain of more than {MAX_CHAIN} bytes")
    try:
        return tuple(x509.load_der_x509_certificate(der) for der in certificates)
    except MALFORMED:
        raise kind.refuse("chain_signature", "a certificate of the chain is malformed") from None


def check_chain(
    chain: Sequence[x509.Certificate], kind: ChainKind, *, at: datetime
) -> tuple[datetime, datetime]:
    """Check root, signatures and dates of a chain, in this order.

    Args:
        chain: Leaf first, root last.
        kind: What it is for.
        at: When every certificate must be valid.

    Returns:
        The latest start and the earliest end of the certificates below the root.

    Raises:
        EndorsementError: .root_not_pinned, .chain_signature or .cert_expired.
    """
    _check_depth(len(chain), kind)
    if not any(_is_root(chain[-1], root) for root in kind.roots):
        names = " or ".join(root.name for root in kind.roots)
        raise kind.refuse("root_not_pinned", f"the chain does not end at the {names}")
    for depth in range(len(chain) - 1, 0, -1):
        _check_issued(chain[depth - 1], chain[depth], below=depth - 1, kind=kind)
    for certificate in chain:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise kind.refuse(
                "cert_expired",
                f"a certificate of the chain is valid from {certificate.not_valid_before_utc} "
                f"to {certificate.not_valid_after_utc}",
            )
    return (
        max(certificate.not_valid_before_utc for certificate in chain),
        min(certificate.not_valid_after_utc for certificate in chain),
    )


def key_of(certificate: x509.Certificate, kind: ChainKind) -> EllipticCurvePublicKey:
    """Return the P-384 key of a certificate.

    Raises:
        EndorsementError: .chain_signature: another kind of key.
    """
    try:
        key = certificate.public_key()
    except MALFORMED:
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise kind.refuse("chain_signature", "a certificate of the chain has no P-384 key")
    return key


def _check_depth(count: int, kind: ChainKind) -> None:
    if not 2 <= count <= MAX_DEPTH:
        raise kind.refuse(
            "chain_signature", f"a chain of {count} certificates; 2 to {MAX_DEPTH} are accepted"
        )


def _is_root(certificate: x509.Certificate, root: PinnedRoot) -> bool:
    der = certificate.public_bytes(Encoding.DER)
    if hashlib.sha256(der).hexdigest() != root.certificate_sha256:
        return False
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest() == root.spki_sha256


def _check_issued(
    child: x509.Certificate, issuer: x509.Certificate, *, below: int, kind: ChainKind
) -> None:
    """Check that `issuer` may sign certificates and signed `child`.

    Args:
        child: The lower certificate.
        issuer: The one that should have signed it.
        below: How many certificates of the chain are below `child`.
        kind: What the chain is for.
    """
    key_of(issuer, kind)
    key_of(child, kind)
    try:
        _check_authority(issuer, below, kind)
        _check_extensions(child, kind)
        if child.serial_number <= 0:
            raise kind.refuse("chain_signature", "a certificate with a serial number of no size")
        if not isinstance(child.signature_hash_algorithm, hashes.SHA384):
            raise kind.refuse("chain_signature", "a signature of the chain does not use SHA-384")
        child.verify_directly_issued_by(issuer)
    except InvalidSignature:
        raise kind.refuse("chain_signature", "a signature of the chain does not hold") from None
    except MALFORMED:
        raise kind.refuse(
            "chain_signature", "a certificate of the chain was not issued by the next one"
        ) from None


def _check_authority(issuer: x509.Certificate, below: int, kind: ChainKind) -> None:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise kind.refuse("chain_signature", "an issuer of the chain is no authority") from None
    if not constraints.ca or not usage.key_cert_sign:
        raise kind.refuse("chain_signature", "an issuer of the chain is no authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise kind.refuse("chain_signature", "the chain is longer than an issuer allows")


def _check_extensions(certificate: x509.Certificate, kind: ChainKind) -> None:
    known = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, known):
            raise kind.refuse(
                "chain_signature",
                f"a critical extension {extension.oid.dotted_string} that is not understood",
            )
