"""Check Intel's certificate chains: platform certificates and the signer of TCB data.

A chain is given leaf first and ends with the Intel SGX Root CA, which is pinned by the
SHA-256 of the certificate and of its public key. There are two forms and no other:

    PCK:          Intel SGX PCK Certificate - PCK Platform CA or PCK Processor CA - root
    TCB signing:  Intel SGX TCB Signing - root

The names matter. Every platform owns a PCK certificate under the same root; without the
check of names it could sign TCB data about itself.

Sources: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification
1.5; RFC 5280 section 6.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from confide.errors import EndorsementError

__all__ = [
    "INTEL_ROOT",
    "MALFORMED",
    "PCK_CA_NAMES",
    "PinnedRoot",
    "check_chain",
    "common_name",
    "key_of",
    "read_chain",
    "signed_by",
]

MAX_CHAIN: Final = 16 * 1024
MAX_DEPTH: Final = 4
PCK_NAME: Final = "Intel SGX PCK Certificate"
PCK_CA_NAMES: Final = {
    "Intel SGX PCK Platform CA": "platform",
    "Intel SGX PCK Processor CA": "processor",
}
TCB_SIGNING_NAME: Final = "Intel SGX TCB Signing"

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
_HALF: Final = 32


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


INTEL_ROOT: Final = PinnedRoot(
    "Intel SGX Root CA",
    "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
    "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e",
)


def _refuse(code: str, message: str) -> EndorsementError:
    return EndorsementError(message, code=f"tdx.{code}")


def read_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read a chain from PEM, leaf first.

    Args:
        pem: At most 16 KiB and 4 certificates, counted before any is decoded.

    Raises:
        EndorsementError: tdx.chain_signature: too large, none, too many, or not readable.
    """
    if len(pem) > MAX_CHAIN:
        raise _refuse("chain_signature", f"a chain of {len(pem)} bytes; at most {MAX_CHAIN}")
    count = pem.count(_PEM)
    if not 1 < count <= MAX_DEPTH:
        raise _refuse("chain_signature", f"a chain of {count} certificates; 2 to {MAX_DEPTH}")
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem.rstrip(b"\0")))
        for certificate in chain:
            certificate.extensions  # noqa: B018 - decoded on first use; refuse it here
    except MALFORMED:
        raise _refuse("chain_signature", "a certificate of the chain is malformed") from None
    if len(chain) != count:
        # The PEM reader passes over a block that does not end.
        raise _refuse("chain_signature", "a certificate of the chain is cut off")
    return chain


def check_chain(
    chain: Sequence[x509.Certificate],
    names: Sequence[str | Sequence[str]],
    *,
    roots: Sequence[PinnedRoot],
    at: datetime,
) -> datetime:
    """Check root, length, names, signatures and dates of a chain, in this order.

    Args:
        chain: Leaf first, root last.
        names: Accepted common names of the certificates below the root.
        roots: Accepted roots.
        at: When every certificate must be valid.

    Returns:
        The earliest end of its certificates.

    Raises:
        EndorsementError: tdx.root_not_pinned, .chain_signature or .cert_expired.
    """
    if not any(_is_root(chain[-1], root) for root in roots):
        raise _refuse("root_not_pinned", f"the chain does not end at the {roots[0].name}")
    if len(chain) != len(names) + 1:
        raise _refuse("chain_signature", f"a chain of {len(chain)}; expected {len(names) + 1}")
    if any(certificate.serial_number <= 0 for certificate in chain):
        raise _refuse("chain_signature", "a certificate with a serial number of no size")
    for depth, accepted in enumerate(names):
        _check_issued(chain[depth], chain[depth + 1])
        found = common_name(chain[depth])
        if found not in ((accepted,) if isinstance(accepted, str) else accepted):
            raise _refuse("chain_signature", f"a certificate of {found!r} is out of place")
    for certificate in chain:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise _refuse(
                "cert_expired",
                f"a certificate of the chain is valid from {certificate.not_valid_before_utc} "
                f"to {certificate.not_valid_after_utc}",
            )
    return min(certificate.not_valid_after_utc for certificate in chain)


def key_of(certificate: x509.Certificate) -> EllipticCurvePublicKey:
    """Return the P-256 key of a certificate.

    Raises:
        EndorsementError: tdx.chain_signature: another kind of key.
    """
    try:
        key = certificate.public_key()
    except MALFORMED:
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise _refuse("chain_signature", "a certificate of the chain has no P-256 key")
    return key


def common_name(certificate: x509.Certificate) -> str:
    """Return the only common name of the subject; empty if there is not exactly one."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def signed_by(key: EllipticCurvePublicKey, signature: bytes, content: bytes) -> bool:
    """Return whether a raw signature (r then s, 32 bytes each, big-endian) is by `key`."""
    if len(signature) != 2 * _HALF:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    try:
        key.verify(encode_dss_signature(r, s), content, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _is_root(certificate: x509.Certificate, root: PinnedRoot) -> bool:
    der = certificate.public_bytes(Encoding.DER)
    if hashlib.sha256(der).hexdigest() != root.certificate_sha256:
        return False
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest() == root.spki_sha256


def _check_issued(child: x509.Certificate, issuer: x509.Certificate) -> None:
    """Check that `issuer` may sign certificates and signed `child`."""
    key_of(issuer)
    key_of(child)
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        if not constraints.ca or not usage.key_cert_sign:
            raise _refuse("chain_signature", "an issuer of the chain is no authority")
        if not isinstance(child.signature_hash_algorithm, hashes.SHA256):
            raise _refuse("chain_signature", "a signature of the chain does not use SHA-256")
        child.verify_directly_issued_by(issuer)
    except InvalidSignature:
        raise _refuse("chain_signature", "a signature of the chain does not hold") from None
    except MALFORMED:
        raise _refuse(
            "chain_signature", "a certificate of the chain was not issued by the next one"
        ) from None
