"""AMD's list of revoked certificates, one per product, signed by the product's root.

AMD gives every VCEK and VLEK the serial number 0, so that a list can withdraw an authority (ASK
or ASVK) and hardly a single chip. Whoever wants to exclude a chip lists those that are
accepted. A list that names serial 0 refuses every report.

The signature is checked before anything else is read, and the reader knows this one form.

Source: RFC 5280 section 5; AMD publication 57230, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from confide.attest.der import (
    CONTEXT_0,
    GENERALIZED_TIME,
    SEQUENCE,
    UTC_TIME,
    DerReader,
    Malformed,
)
from confide.attest.endorsements import MAX_ENDORSEMENT, CollateralFact, EndorsementKey
from confide.attest.platforms.snp.certificates import (
    PSS_ALGORITHMS,
    AmdCertificate,
    der_blocks,
    pss_signed_by,
    read_bits,
    read_extensions,
    read_time,
)
from confide.errors import EndorsementError

__all__ = ["RevocationList"]

_VERSION_2: Final = 1
_CRL_NUMBER: Final = "2.5.29.20"


@dataclass(frozen=True)
class RevocationList:
    """A list whose signature and dates were checked.

    Attributes:
        serials: Revoked serial numbers.
        this_update: When it was issued.
        next_update: Until when it is current.
        number: CRL number, or None.
    """

    serials: frozenset[int] = field(repr=False)
    this_update: datetime
    next_update: datetime
    number: int | None

    @classmethod
    def read(cls, content: bytes, root: AmdCertificate, at: datetime) -> RevocationList:
        """Read a list from anyone.

        Args:
            content: DER or PEM, at most 256 KiB.
            root: The product's root, pinned.
            at: Now.

        Raises:
            EndorsementError: snp.crl_signature or snp.crl_expired. No other exception.
        """
        try:
            tbs = _signed_by_root(content, root)
            serials, this_update, next_update, number = _read(DerReader(tbs).enter(SEQUENCE), root)
        except (ValueError, EndorsementError) as error:
            raise EndorsementError(
                f"the revocation list is not one of this product's root: {error}",
                code="snp.crl_signature",
            ) from None
        if next_update is None or not this_update <= at <= next_update:
            until = "without an end" if next_update is None else f"to {next_update:%Y-%m-%d}"
            raise EndorsementError(
                f"the revocation list is of {this_update:%Y-%m-%d}, {until}; now {at:%Y-%m-%d}",
                code="snp.crl_expired",
                hint="confide endorsements fetch",
            )
        return cls(serials, this_update, next_update, number)

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


def _signed_by_root(content: bytes, root: AmdCertificate) -> bytes:
    """Return the DER of what the root signed.

    Raises:
        Malformed: Another form, or another signer.
    """
    der = der_blocks(content)[0]
    if len(der) > MAX_ENDORSEMENT:
        raise Malformed(f"larger than {MAX_ENDORSEMENT} bytes")
    outer = DerReader(der)
    whole = outer.enter(SEQUENCE)
    outer.end()
    tbs = whole.take(SEQUENCE).whole
    if whole.take(SEQUENCE).whole not in PSS_ALGORITHMS:
        raise Malformed("another signature algorithm")
    signature = read_bits(whole)
    whole.end()
    if not pss_signed_by(root.public_key, signature, tbs):
        raise Malformed("not signed by it")
    return tbs


def _read(
    tbs: DerReader, root: AmdCertificate
) -> tuple[frozenset[int], datetime, datetime | None, int | None]:
    if tbs.integer() != _VERSION_2:
        raise Malformed("not version 2")
    if tbs.take(SEQUENCE).whole not in PSS_ALGORITHMS:
        raise Malformed("another signature algorithm inside")
    if tbs.take(SEQUENCE).whole != root.subject:
        raise Malformed("another issuer")
    this_update = read_time(tbs)
    next_update = read_time(tbs) if tbs.next_tag in (UTC_TIME, GENERALIZED_TIME) else None
    serials = set()
    if tbs.next_tag == SEQUENCE:
        listed = tbs.enter(SEQUENCE)
        while listed.more:
            # Date and reason change nothing: what is listed is refused.
            serials.add(listed.enter(SEQUENCE).integer())
    number = None
    if tbs.more:
        # A critical extension would narrow what the list is about, so none is understood.
        found = read_extensions(tbs.enter(CONTEXT_0), understood=frozenset())
        if _CRL_NUMBER in found:
            number = DerReader(found[_CRL_NUMBER]).integer()
    tbs.end()
    return frozenset(serials), this_update, next_update, number
