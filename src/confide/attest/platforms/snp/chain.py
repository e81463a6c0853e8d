"""From a report to AMD's root: certificates, revocation, signature, and that they fit together.

    ARK (pinned) -> ASK  -> VCEK (one chip at one firmware level)  -> report
    ARK (pinned) -> ASVK -> VLEK (one cloud at one firmware level) -> report

Pure functions of their arguments. The order is that of the error names: what is refused
first makes looking further meaningless.

Source: AMD publication 57230, sections 3 and 4; attestation.md section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from confide.attest.der import (
    BIT_STRING,
    IA5_STRING,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    DerReader,
    Malformed,
)
from confide.attest.endorsements import CollateralFact, EndorsementKey
from confide.attest.platforms.snp.certificates import (
    PSS_ALGORITHMS,
    AmdCertificate,
    der_blocks,
    pss_signed_by,
)
from confide.attest.platforms.snp.report import Signer, SnpReport, components
from confide.errors import EndorsementError

__all__ = ["ROOTS", "Genuine", "authenticate_report"]

ROOTS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"): "Milan",
        bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"): "Genoa",
        bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"): "Turin",
    }
)
"""SHA-256 of the three AMD Root Keys' certificates, and whose they are."""

_EXTENSION: Final = "1.3.6.1.4.1.3704.1"
_PRODUCT: Final = f"{_EXTENSION}.2"
_HARDWARE_ID: Final = f"{_EXTENSION}.4"
_CSP_ID: Final = f"{_EXTENSION}.5"
_SPL: Final = {
    "bootloader": f"{_EXTENSION}.3.1",
    "tee": f"{_EXTENSION}.3.2",
    "snp": f"{_EXTENSION}.3.3",
    "microcode": f"{_EXTENSION}.3.8",
    "fmc": f"{_EXTENSION}.3.9",
}
_LEAF_NAMES: Final = {Signer.VCEK: "SEV-VCEK", Signer.VLEK: "SEV-VLEK"}
_AUTHORITY_NAMES: Final = {Signer.VCEK: "SEV-{}", Signer.VLEK: "SEV-VLEK-{}"}
_CHAIN_LENGTH: Final = 2
_MAX_CRL: Final = 256 * 1024


@dataclass(frozen=True)
class Genuine:
    """A report that a processor of AMD's made.

    Attributes:
        report: The report.
        product: "Milan", "Genoa" or "Turin", by certificate, root and CPUID alike.
        leaf_product: As the certificate names it, such as "Milan-B0".
        csp_id: The cloud a VLEK was given to; None under a VCEK.
        crl_checked: A current revocation list was looked at.
        expires_at: Earliest end of certificates and list.
        facts: How new the list is.
    """

    report: SnpReport = field(repr=False)
    product: str
    leaf_product: str
    csp_id: str | None
    crl_checked: bool
    expires_at: datetime
    facts: tuple[CollateralFact, ...] = ()

    def claims(self) -> dict[str, object]:
        """Return everything the report and its certificate say."""
        found = self.report.claims(self.product)
        found["certificate_product"] = self.leaf_product
        found["crl"] = "checked" if self.crl_checked else "absent"
        if self.csp_id is not None:
            found["csp_id"] = self.csp_id
        return found


def authenticate_report(
    raw: bytes,
    *,
    vek: bytes,
    chain: bytes,
    crl: bytes | None,
    at: datetime,
    roots: Mapping[bytes, str] = ROOTS,
) -> Genuine:
    """Check a report up to AMD's root.

    Args:
        raw: The report, 1184 bytes.
        vek: Certificate of the VCEK or VLEK, DER or PEM.
        chain: ASK or ASVK and ARK as PEM, in this order, as AMD's key server gives them.
        crl: The product's revocation list, DER or PEM; None if there is none to look at.
        at: Now.
        roots: Accepted roots by fingerprint. Anything but the default is for tests.

    Raises:
        EvidenceError: What `SnpReport.parse` refuses.
        EndorsementError: snp.signing_key, .root_not_pinned, .chain_signature, .cert_expired,
            .crl_signature, .crl_expired, .revoked, .report_signature, .tcb_cert_mismatch,
            .chip_id_mismatch or .product_mismatch.
    """
    report = SnpReport.parse(raw)
    leaf = _leaf(vek, report.signer)
    authority, root = _authorities(chain)
    product = roots.get(root.sha256)
    if product is None:
        raise EndorsementError(
            "the chain does not end at a root key of AMD", code="snp.root_not_pinned"
        )
    _check_chain(leaf, authority, root, report.signer, product)
    certificates = (leaf, authority, root)
    for one in certificates:
        _check_dates(one, at)
    revocation = None if crl is None else _Revocation.read(crl, root, at)
    if revocation is not None:
        for one in (leaf, authority):
            revocation.check(one)
    _check_signature(report, leaf)
    _check_fit(report, leaf, product)
    ends = [one.not_after for one in certificates]
    return Genuine(
        report=report,
        product=product,
        leaf_product=_text(leaf, _PRODUCT),
        csp_id=_text(leaf, _CSP_ID) if report.signer is Signer.VLEK else None,
        crl_checked=revocation is not None,
        expires_at=min([*ends, revocation.next_update] if revocation else ends),
        facts=() if revocation is None else (revocation.fact(product),),
    )


def _leaf(content: bytes, signer: Signer) -> AmdCertificate:
    blocks = der_blocks(content)
    leaf = AmdCertificate.parse(blocks[0])
    if leaf.common_name != _LEAF_NAMES[signer]:
        raise EndorsementError(
            f"the report says that a {signer} signed it; the certificate is another's",
            code="snp.signing_key",
        )
    return leaf


def _authorities(content: bytes) -> tuple[AmdCertificate, AmdCertificate]:
    blocks = der_blocks(content)
    if len(blocks) != _CHAIN_LENGTH:
        raise EndorsementError(
            f"the chain holds {len(blocks)} certificates, not ASK and ARK",
            code="snp.chain_signature",
        )
    authority, root = (AmdCertificate.parse(block) for block in blocks)
    return authority, root


def _check_chain(
    leaf: AmdCertificate,
    authority: AmdCertificate,
    root: AmdCertificate,
    signer: Signer,
    product: str,
) -> None:
    # The root signs itself. It is pinned, so this says nothing about trust; it says that the
    # bytes are whole.
    links = ((root, root, "ARK"), (authority, root, "ASK"), (leaf, authority, str(signer)))
    for certificate, issuer, name in links:
        if not certificate.signed_by(issuer):
            raise EndorsementError(
                f"the {name} is not signed by its issuer", code="snp.chain_signature"
            )
    if authority.common_name != _AUTHORITY_NAMES[signer].format(product):
        raise EndorsementError(
            f"a {signer} of {product} is not issued by {authority.common_name}",
            code="snp.chain_signature",
        )


def _check_dates(certificate: AmdCertificate, at: datetime) -> None:
    if not certificate.not_before <= at <= certificate.not_after:
        raise EndorsementError(
            f"{certificate.common_name} is valid from {certificate.not_before:%Y-%m-%d}"
            f" to {certificate.not_after:%Y-%m-%d}",
            code="snp.cert_expired",
            hint="confide endorsements fetch; and check this machine's clock: confide doctor",
        )


@dataclass(frozen=True)
class _Revocation:
    """AMD's list of revoked certificates of one product; signature and dates were checked."""

    serials: frozenset[int]
    this_update: datetime
    next_update: datetime
    number: int | None

    @classmethod
    def read(cls, content: bytes, root: AmdCertificate, at: datetime) -> _Revocation:
        """Read a list and check that the root signed it and that it is current.

        Raises:
            EndorsementError: snp.crl_signature or snp.crl_expired.
        """
        der = der_blocks(content)[0]
        try:
            if len(der) > _MAX_CRL:
                raise Malformed(f"larger than {_MAX_CRL} bytes")
            tbs, signature = _split_crl(der)
            listed = x509.load_der_x509_crl(der)
            end = listed.next_update_utc
            issuer = listed.issuer.public_bytes()
            serials = frozenset(one.serial_number for one in listed)
            number = _crl_number(listed)
        except ValueError as error:
            raise EndorsementError(
                f"the revocation list is malformed: {error}", code="snp.crl_signature"
            ) from None
        if issuer != root.subject or not pss_signed_by(root.public_key, signature, tbs):
            raise EndorsementError(
                "the revocation list is not signed by this product's root",
                code="snp.crl_signature",
            )
        if end is None or not listed.last_update_utc <= at <= end:
            raise EndorsementError(
                f"the revocation list is of {listed.last_update_utc:%Y-%m-%d}"
                + ("" if end is None else f", valid to {end:%Y-%m-%d}"),
                code="snp.crl_expired",
                hint="confide endorsements fetch",
            )
        return cls(serials, listed.last_update_utc, end, number)

    def check(self, certificate: AmdCertificate) -> None:
        """Refuse a revoked certificate.

        Raises:
            EndorsementError: snp.revoked.
        """
        if certificate.serial in self.serials:
            raise EndorsementError(
                f"AMD has revoked {certificate.common_name}, serial {certificate.serial:#x}",
                code="snp.revoked",
            )

    def fact(self, product: str) -> CollateralFact:
        """Return how new this list is."""
        return CollateralFact(EndorsementKey("snp/crl", product), self.this_update, self.number)


def _split_crl(der: bytes) -> tuple[bytes, bytes]:
    outer = DerReader(der)
    whole = outer.enter(SEQUENCE)
    outer.end()
    tbs = whole.take(SEQUENCE).whole
    if whole.take(SEQUENCE).whole not in PSS_ALGORITHMS:
        raise Malformed("another signature algorithm")
    signature = whole.take(BIT_STRING).content
    whole.end()
    if signature[:1] != b"\0":
        raise Malformed("a bit string of a broken byte")
    return tbs, signature[1:]


def _crl_number(listed: x509.CertificateRevocationList) -> int | None:
    try:
        return listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _check_signature(report: SnpReport, leaf: AmdCertificate) -> None:
    key = leaf.public_key
    if not isinstance(key, EllipticCurvePublicKey):
        raise EndorsementError("the leaf's key is not P-384", code="snp.report_signature")
    try:
        key.verify(encode_dss_signature(*report.signature), report.signed, ECDSA(SHA384()))
    except InvalidSignature:
        raise EndorsementError(
            "the report is not signed by the certified key", code="snp.report_signature"
        ) from None


def _check_fit(report: SnpReport, leaf: AmdCertificate, product: str) -> None:
    """A key is made for one firmware level, one chip and one product: all three must be these."""
    if _text(leaf, _PRODUCT).partition("-")[0] != product or report.product not in (None, product):
        raise EndorsementError(
            f"a report of {report.product or 'an unnamed product'} under a certificate of"
            f" {_text(leaf, _PRODUCT)} and the root of {product}",
            code="snp.product_mismatch",
        )
    for name, reported in components(report.reported_tcb, product).items():
        certified = _number(leaf, _SPL[name])
        if certified != reported:
            raise EndorsementError(
                f"{name} is {reported} in the report and {certified} in the certificate",
                code="snp.tcb_cert_mismatch",
            )
    if report.signer is Signer.VCEK:
        _check_chip(report.chip_id, _hardware_id(leaf))


def _check_chip(chip_id: bytes, hardware_id: bytes) -> None:
    length = len(hardware_id)
    if length not in (8, 64) or chip_id != hardware_id.ljust(64, b"\0") or not any(chip_id):
        raise EndorsementError(
            "the certificate is of another chip, or the report hides its chip",
            code="snp.chip_id_mismatch",
        )


def _hardware_id(leaf: AmdCertificate) -> bytes:
    """The extension holds the bytes raw; some issues wrap them in an OCTET STRING."""
    value = leaf.extensions.get(_HARDWARE_ID, b"")
    if len(value) in (10, 66) and value[0] == OCTET_STRING and value[1] == len(value) - 2:
        return value[2:]
    return value


def _number(leaf: AmdCertificate, name: str) -> int | None:
    value = leaf.extensions.get(name)
    if value is None:
        return None
    try:
        reader = DerReader(value)
        number = reader.integer() if reader.next_tag == INTEGER else None
        reader.end()
    except Malformed:
        return None
    return number


def _text(leaf: AmdCertificate, name: str) -> str:
    value = leaf.extensions.get(name, b"")
    try:
        reader = DerReader(value)
        text = reader.take(IA5_STRING).content.decode("ascii")
        reader.end()
    except (Malformed, UnicodeDecodeError):
        text = ""
    if not text or not text.isprintable():
        raise EndorsementError(
            f"the certificate lacks the extension {name}", code="snp.product_mismatch"
        )
    return text
