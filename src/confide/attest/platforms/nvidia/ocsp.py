"""Check what NVIDIA's OCSP responders say about one certificate.

An answer counts if it names the certificate (CertID with SHA-384), is signed by the
certificate's issuer or by a responder which that issuer made for the purpose
(OCSPSigning), and covers the moment. NVIDIA's answers are valid for 24 hours. A nonce is
neither asked for nor looked at: the dates say how fresh the answer is, and a stapled
answer cannot carry the verifier's nonce.

Source: RFC 6960 sections 3.2 and 4.2.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from confide.attest.platforms.nvidia.chain import MALFORMED
from confide.errors import EndorsementError

__all__ = ["Answer", "Answers", "CertificateId", "check_answer", "read_answers"]

MAX_ANSWERS: Final = 64


@dataclass(frozen=True)
class CertificateId:
    """How an OCSP answer names a certificate (RFC 6960 section 4.1.1), with SHA-384.

    Attributes:
        issuer_name: SHA-384 of the issuer's DER name, 48 bytes.
        issuer_key: SHA-384 of the issuer's public key bits, 48 bytes.
        serial: The certificate's serial number.
    """

    issuer_name: bytes
    issuer_key: bytes
    serial: int

    @classmethod
    def of(cls, certificate: x509.Certificate, issuer: x509.Certificate) -> CertificateId:
        """Name `certificate`, which `issuer` signed."""
        return cls(
            hashlib.sha384(issuer.subject.public_bytes()).digest(),
            hashlib.sha384(_key_bits(issuer)).digest(),
            certificate.serial_number,
        )

    def __str__(self) -> str:
        """Return the subject under which a source of endorsements is asked."""
        return f"{self.issuer_key.hex()}/{serial_text(self.serial)}"


@dataclass(frozen=True)
class Answer:
    """What a responder says about one certificate; its signature was checked.

    Attributes:
        status: "good", "revoked" or "unknown".
        issued_at: `thisUpdate`.
        valid_until: `nextUpdate`.
    """

    status: str
    issued_at: datetime
    valid_until: datetime


Answers = tuple[ocsp.OCSPResponse, ...]


def serial_text(serial: int) -> str:
    """Write a serial number as lower-case hex of whole bytes."""
    return serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big").hex()


def read_answers(listed: Iterable[bytes]) -> Answers:
    """Read DER responses; what is no response, or no successful one, is left out.

    An attacker gains nothing by that: an answer that is left out is an answer missing.
    """
    found = []
    for der in listed:
        try:
            response = ocsp.load_der_ocsp_response(der)
        except MALFORMED:
            continue
        if response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL:
            found.append(response)
    return tuple(found)


def check_answer(
    response: ocsp.OCSPResponse,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    *,
    at: datetime,
) -> Answer | None:
    """Check one response and return what it says about `certificate`.

    Args:
        response: A successful response, untrusted.
        certificate: The certificate in question; its chain was checked.
        issuer: The certificate that signed it.
        at: Now.

    Returns:
        The answer, whatever its status is, or None if it is about other certificates.

    Raises:
        EndorsementError: nv.ocsp_signature or nv.ocsp_expired.
    """
    wanted = CertificateId.of(certificate, issuer)
    try:
        single = _single(response, wanted)
        if single is None:
            return None
        _check_signature(response, issuer, at)
        starts, ends = single.this_update_utc, single.next_update_utc
        status = single.certificate_status
    except InvalidSignature:
        raise EndorsementError(
            "the OCSP answer is not signed by the issuer of the certificate or its responder",
            code="nv.ocsp_signature",
        ) from None
    except MALFORMED:
        raise EndorsementError("the OCSP answer is malformed", code="nv.ocsp_signature") from None
    if ends is None or not starts <= at < ends:
        raise EndorsementError(
            f"the OCSP answer is valid from {starts} to {ends}", code="nv.ocsp_expired"
        )
    return Answer(status.name.lower(), starts, ends)


def _single(response: ocsp.OCSPResponse, wanted: CertificateId) -> ocsp.OCSPSingleResponse | None:
    for number, single in enumerate(response.responses):
        if number >= MAX_ANSWERS:
            break
        if (
            single.serial_number == wanted.serial
            and single.issuer_key_hash == wanted.issuer_key
            and single.issuer_name_hash == wanted.issuer_name
        ):
            return single
    return None


def _check_signature(response: ocsp.OCSPResponse, issuer: x509.Certificate, at: datetime) -> None:
    """Check that the issuer, or a responder it made, signed the response.

    Raises:
        InvalidSignature: Nobody entitled did.
        EndorsementError: nv.ocsp_expired: the responder's certificate is out of date.
    """
    algorithm = response.signature_hash_algorithm
    if not isinstance(algorithm, hashes.SHA384 | hashes.SHA256):
        raise InvalidSignature
    signer = _responder(response, issuer)
    if not signer.not_valid_before_utc <= at <= signer.not_valid_after_utc:
        raise EndorsementError(
            "the certificate of the OCSP responder is out of date", code="nv.ocsp_expired"
        )
    key = signer.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise InvalidSignature
    key.verify(response.signature, response.tbs_response_bytes, ECDSA(algorithm))


def _responder(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> x509.Certificate:
    """Return the issuer itself, or the certificate it made for its responder."""
    if _is_named(response, issuer):
        return issuer
    for certificate in response.certificates[:MAX_ANSWERS]:
        if _is_named(response, certificate):
            certificate.verify_directly_issued_by(issuer)
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            if ExtendedKeyUsageOID.OCSP_SIGNING in usage:
                return certificate
    raise InvalidSignature


def _is_named(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    """Compare with the responder id: a name, or the SHA-1 of a key (RFC 6960, ResponderID)."""
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    # SHA-1 only names the key here; who may sign is decided by the chain.
    named = hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest()
    return response.responder_key_hash == named


def _key_bits(certificate: x509.Certificate) -> bytes:
    """Return the content of the BIT STRING subjectPublicKey."""
    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise InvalidSignature
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
