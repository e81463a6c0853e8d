"""Check a certificate revocation list, the offline alternative to OCSP.

NVIDIA publishes lists of its upper authorities, renewed about every two months. The one
that signs the devices' own certificates names no list, so a list can withdraw a whole
line of devices but not a single one; for that there is OCSP.

Source: RFC 5280 section 6.3, for complete lists signed by the issuer itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from confide.attest.platforms.nvidia.chain import MALFORMED
from confide.errors import EndorsementError

__all__ = ["RevocationList", "check_list", "names_a_list"]


@dataclass(frozen=True)
class RevocationList:
    """A list whose signature and dates were checked.

    Attributes:
        revoked: Whether it lists the certificate in question.
        issued_at: `thisUpdate`.
        valid_until: `nextUpdate`.
        number: CRL number, or None.
    """

    revoked: bool
    issued_at: datetime
    valid_until: datetime
    number: int | None


def names_a_list(certificate: x509.Certificate) -> bool:
    """Return whether the certificate says where its issuer's list is found."""
    try:
        certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    except x509.ExtensionNotFound:
        return False
    return True


def check_list(
    content: bytes, certificate: x509.Certificate, issuer: x509.Certificate, *, at: datetime
) -> RevocationList | None:
    """Check a list and look the certificate up.

    Args:
        content: DER or PEM, untrusted.
        certificate: The certificate in question; its chain was checked.
        issuer: The certificate that signed it.
        at: Now.

    Returns:
        What the list says, or None if it is another issuer's.

    Raises:
        EndorsementError: nv.crl_signature or nv.crl_expired.
    """
    try:
        pem = content.lstrip().startswith(b"-----BEGIN")
        read = x509.load_pem_x509_crl if pem else x509.load_der_x509_crl
        found = read(content)
        if found.issuer != issuer.subject:
            return None
        _check_complete(found)
        if not found.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
            raise EndorsementError(
                "the revocation list is not signed by the issuer", code="nv.crl_signature"
            )
        number = _number(found)
        starts, ends = found.last_update_utc, found.next_update_utc
        entry = found.get_revoked_certificate_by_serial_number(certificate.serial_number)
    except MALFORMED:
        raise EndorsementError(
            "the revocation list is malformed", code="nv.crl_signature"
        ) from None
    if ends is None or not starts <= at < ends:
        raise EndorsementError(
            f"the revocation list is valid from {starts} to {ends}", code="nv.crl_expired"
        )
    return RevocationList(entry is not None, starts, ends, number)


def _check_complete(found: x509.CertificateRevocationList) -> None:
    """Refuse a list that is critical about something, such as being partial or a delta."""
    if any(extension.critical for extension in found.extensions):
        raise EndorsementError("the revocation list is not complete", code="nv.crl_signature")


def _number(found: x509.CertificateRevocationList) -> int | None:
    try:
        return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
