"""NVIDIA's OCSP responder and revocation lists, for the certificates of one device.

An answer of the responder is good for a day, a list for about two months. The responder wants to
be told the issuer's name and key, so a device's chain is needed, and not its serial number alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from confide.attest.collateral import Period
from confide.attest.endorsements import EndorsementKey
from confide.attest.platforms.nvidia.chain import MALFORMED
from confide.attest.platforms.nvidia.ocsp import CertificateId
from confide.client.vendors.amd import list_period
from confide.client.vendors.https import VendorHttp
from confide.errors import ConfigError, TransportError

__all__ = ["Question", "answer_period", "questions"]

OCSP_HOST: Final = "ocsp.ndis.nvidia.com"
LIST_HOST: Final = "crl.ndis.nvidia.com"

_MAX_ANSWER: Final = 16 * 1024
_MAX_LIST: Final = 256 * 1024
_MAX_CERTIFICATES: Final = 8


class Question:
    """What is asked about one certificate.

    Attributes:
        key: Under which the answer is kept.
        host: Who is asked.
    """

    def __init__(self, key: EndorsementKey, host: str, target: str, content: bytes = b"") -> None:
        self.key, self.host, self._target, self._content = key, host, target, content

    def ask(self, http: VendorHttp) -> tuple[bytes, Period]:
        """Fetch the answer.

        Raises:
            TransportError: No answer, or one of another shape.
        """
        if not self._content:
            body = http.get(self.host, self._target, limit=_MAX_LIST).body
            return body, list_period(body, self.host)
        body = http.post(
            self.host,
            self._target,
            self._content,
            kind="application/ocsp-request",
            limit=_MAX_ANSWER,
        ).body
        return body, answer_period(body)


def questions(chain: str) -> tuple[Question, ...]:
    """List what to ask about a device, from the chain in its evidence.

    Args:
        chain: PEM, leaf first and root last, at most 8 certificates. Untrusted.

    Raises:
        ConfigError: It is not such a chain.
    """
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode("ascii"))
        if not 2 <= len(certificates) <= _MAX_CERTIFICATES:
            raise ValueError
        # The leaf is made by the device itself at every start; no list has it.
        return tuple(q for pair in pairwise(certificates[1:]) for q in _about(*pair))
    except (InvalidSignature, *MALFORMED):  # the former: a key that NVIDIA does not use
        raise ConfigError("the evidence holds no chain of an NVIDIA device") from None


def _about(certificate: x509.Certificate, issuer: x509.Certificate) -> Iterator[Question]:
    yield _ocsp(certificate, issuer)
    for url in _lists(certificate):
        name = issuer.subject.rfc4514_string()
        yield Question(EndorsementKey("nvidia/crl", name), LIST_HOST, url)


def _ocsp(certificate: x509.Certificate, issuer: x509.Certificate) -> Question:
    about = CertificateId.of(certificate, issuer)
    request = (
        ocsp.OCSPRequestBuilder()
        .add_certificate_by_hash(about.issuer_name, about.issuer_key, about.serial, hashes.SHA384())
        .build()
    )
    return Question(
        EndorsementKey("nvidia/ocsp", str(about)),
        OCSP_HOST,
        "/",
        request.public_bytes(serialization.Encoding.DER),
    )


def _lists(certificate: x509.Certificate) -> Iterator[str]:
    """Targets of the lists that a certificate names; those on other hosts are left out."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        for name in point.full_name or ():
            parts = urlsplit(str(name.value))
            # The certificate says http; the same host is asked by https.
            if parts.hostname == LIST_HOST and parts.path.startswith("/") and not parts.query:
                yield parts.path


def answer_period(der: bytes) -> Period:
    """Return the dates of an OCSP answer.

    Raises:
        TransportError: vendor-malformed; it is none, or not a successful one.
    """
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise ValueError
        issued_at, until = response.this_update_utc, response.next_update_utc
    except ValueError:
        raise TransportError(
            f"{OCSP_HOST}: the answer is not a successful OCSP answer", code="vendor-malformed"
        ) from None
    return Period(int(issued_at.timestamp()), None if until is None else int(until.timestamp()))
