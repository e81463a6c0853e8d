"""From a report to AMD's root: certificates, revocation, signature, and that they fit together.

    ARK (pinned) -> ASK  -> VCEK (one chip at one firmware level)  -> report
    ARK (pinned) -> ASVK -> VLEK (one cloud at one firmware level) -> report

Pure functions of their arguments. The order of the checks is that of `authenticate_report`;
what is refused first makes looking further meaningless.

Source: AMD publication 57230, sections 3 and 4; attestation.md section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from confide.attest.endorsements import CollateralFact
from confide.attest.platforms.snp.certificates import AmdCertificate, der_blocks
from confide.attest.platforms.snp.fit import check_fit, cloud_of, named_product
from confide.attest.platforms.snp.report import Signer, SnpReport
from confide.attest.platforms.snp.revocation import RevocationList
from confide.errors import EndorsementError

__all__ = [
    "ROOTS",
    "Authority",
    "Genuine",
    "authenticate_report",
    "check_dates",
    "conclude",
    "read_leaf",
]

ROOTS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"): "Milan",
        bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"): "Genoa",
        bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"): "Turin",
    }
)
"""SHA-256 of the three AMD Root Keys' certificates, and whose they are."""

_CHAIN_LENGTH: Final = 2


@dataclass(frozen=True)
class Authority:
    """An intermediate of AMD's under a pinned root; its signature holds.

    Attributes:
        certificate: ASK or ASVK.
        root: ARK.
        product: Whose root it is: "Milan", "Genoa" or "Turin".
    """

    certificate: AmdCertificate = field(repr=False)
    root: AmdCertificate = field(repr=False)
    product: str

    @classmethod
    def read(cls, content: bytes, roots: Mapping[bytes, str] = ROOTS) -> Authority:
        """Read a chain from anyone.

        Args:
            content: ASK or ASVK and ARK as PEM, in either order.
            roots: Accepted roots by fingerprint.

        Raises:
            EndorsementError: snp.root_not_pinned or snp.chain_signature.
        """
        blocks = der_blocks(content)
        if len(blocks) != _CHAIN_LENGTH:
            raise EndorsementError(
                f"the chain holds {len(blocks)} certificates, not ASK and ARK",
                code="snp.chain_signature",
            )
        first, second = (AmdCertificate.parse(block) for block in blocks)
        authority, root = (second, first) if first.sha256 in roots else (first, second)
        # The pin covers every byte of the root, its signature of itself included.
        product = roots.get(root.sha256)
        if product is None:
            raise EndorsementError(
                "the chain does not end at a root key of AMD", code="snp.root_not_pinned"
            )
        if not (authority.signed_by(root) and authority.may_sign):
            raise EndorsementError(
                "the ASK is not signed by its root, or is no authority",
                code="snp.chain_signature",
            )
        return cls(authority, root, product)


@dataclass(frozen=True)
class Genuine:
    """A report that a processor of AMD's made.

    Attributes:
        report: The report.
        product: "Milan", "Genoa" or "Turin", by certificate, root and CPUID alike.
        leaf_product: As the certificate names it, such as "Milan-B0".
        csp_id: The cloud a VLEK was given to; None under a VCEK, or if the VLEK names none.
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
        chain: ASK or ASVK and ARK as PEM, as AMD's key server gives them.
        crl: The product's revocation list, DER or PEM; None if there is none to look at.
        at: Now.
        roots: Accepted roots by fingerprint. Anything but the default is for tests.

    Raises:
        EvidenceError: What `SnpReport.parse` refuses, or snp.vmpl: the host asked for it.
        EndorsementError: snp.root_not_pinned, .chain_signature, .cert_expired,
            .crl_signature, .crl_expired, .revoked, .report_signature, .signing_key,
            .product_mismatch, .tcb_cert_mismatch or .chip_id_mismatch.
    """
    report = SnpReport.parse(raw)
    authority = Authority.read(chain, roots)
    leaf = read_leaf(vek, (authority,))[0]
    check_dates((leaf, authority.certificate, authority.root), at)
    revocation = None if crl is None else RevocationList.read(crl, authority.root, at)
    return conclude(report, leaf, authority, revocation)


def read_leaf(
    content: bytes, authorities: tuple[Authority, ...]
) -> tuple[AmdCertificate, Authority]:
    """Read the certificate of a VCEK or VLEK and find who signed it.

    Args:
        content: DER or PEM; certificates after the first are not looked at.
        authorities: At least one.

    Raises:
        EndorsementError: snp.chain_signature.
    """
    leaf = AmdCertificate.parse(der_blocks(content)[0])
    for authority in authorities:
        if leaf.signed_by(authority.certificate):
            return leaf, authority
    raise EndorsementError(
        f"{leaf.common_name} is not signed by its authority", code="snp.chain_signature"
    )


def check_dates(certificates: tuple[AmdCertificate, ...], at: datetime) -> None:
    """Refuse certificates that are not valid now.

    Raises:
        EndorsementError: snp.cert_expired.
    """
    for one in certificates:
        if not one.not_before <= at <= one.not_after:
            raise EndorsementError(
                f"{one.common_name} is valid from {one.not_before:%Y-%m-%d}"
                f" to {one.not_after:%Y-%m-%d}; now is {at:%Y-%m-%d}",
                code="snp.cert_expired",
                hint="confide endorsements fetch; and check this machine's clock: confide doctor",
            )


def conclude(
    report: SnpReport,
    leaf: AmdCertificate,
    authority: Authority,
    revocation: RevocationList | None,
) -> Genuine:
    """Check revocation, the report's signature, and that all of it is about one machine.

    Args:
        report: Well-formed.
        leaf: Signed by `authority`, in date.
        authority: In date.
        revocation: The list of the authority's root, or None.

    Raises:
        EvidenceError: snp.vmpl.
        EndorsementError: From snp.revoked on, as `authenticate_report`.
    """
    certificates = (leaf, authority.certificate, authority.root)
    if revocation is not None:
        for one in (leaf, authority.certificate):
            revocation.check(one)
    _check_signature(report, leaf)
    check_fit(report, leaf, authority.certificate, authority.product)
    ends = [one.not_after for one in certificates]
    return Genuine(
        report=report,
        product=authority.product,
        leaf_product=named_product(leaf),
        csp_id=cloud_of(leaf) if report.signer is Signer.VLEK else None,
        crl_checked=revocation is not None,
        expires_at=min([*ends, revocation.next_update] if revocation else ends),
        facts=() if revocation is None else (revocation.fact(authority.product),),
    )


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
