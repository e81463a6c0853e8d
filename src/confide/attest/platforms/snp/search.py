"""Find the certificates and the list that a report holds under, among untrusted candidates.

Whoever sends evidence may staple 16 of each. Each candidate is therefore checked once, and
on its own: chains first, then leaves under the chains that hold, then lists under their
root. The work is a sum over the candidates, never a product.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from confide.attest.endorsements import (
    MAX_CANDIDATES,
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EndorsementSource,
    first_valid,
)
from confide.attest.platforms.snp.chain import (
    Authority,
    Genuine,
    check_dates,
    conclude,
    read_leaf,
)
from confide.attest.platforms.snp.report import Signer, SnpReport
from confide.attest.platforms.snp.revocation import RevocationList
from confide.errors import AttestationError

__all__ = ["find_genuine"]

_PRODUCTS: Final = ("Milan", "Genoa", "Turin")


def find_genuine(
    report: SnpReport, source: EndorsementSource, at: datetime, roots: Mapping[bytes, str]
) -> Genuine:
    """Check a report with the first candidates that hold.

    Args:
        report: Well-formed.
        source: Where candidates are found, untrusted.
        at: Now.
        roots: Accepted roots by fingerprint.

    Raises:
        EndorsementError: collateral.missing: no leaf or no chain was found; a missing list
            is a claim.
        AttestationError: As `authenticate_report`, or what `source` raises.
    """
    search = _Search(report, source, at, roots)
    leaves = search.candidates("vek")
    authorities = search.authorities()
    return first_valid(leaves, leaves.key, lambda one: search.under_leaf(one, authorities))


class _Candidates:
    """Candidates of one kind that were found already, each content once."""

    def __init__(self, key: EndorsementKey, found: tuple[Endorsement, ...]) -> None:
        self.key = key
        self.found = found

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:  # noqa: ARG002
        return self.found

    def saw(self, fact: CollateralFact) -> None:
        """Nothing: the source they came from is told."""


class _Search:
    def __init__(
        self,
        report: SnpReport,
        source: EndorsementSource,
        at: datetime,
        roots: Mapping[bytes, str],
    ) -> None:
        self._report = report
        self._source = source
        self._at = at
        self._roots = roots
        self._lists: dict[bytes, RevocationList | AttestationError | None] = {}

    def candidates(self, part: str) -> _Candidates:
        """Find candidates for every product that the report may be of."""
        product = self._report.product
        # Version 2 does not say which product it is of; the certificate will.
        products = _PRODUCTS if product is None else (product,)
        keys = [EndorsementKey(f"snp/{part}", self._subject(part, one)) for one in products]
        found: dict[bytes, Endorsement] = {}
        for key in keys:
            for one in self._source.find(key)[:MAX_CANDIDATES]:
                found.setdefault(one.content, one)
        return _Candidates(keys[0], tuple(found.values()))

    def _subject(self, part: str, product: str) -> str:
        tcb = self._report.reported_tcb.hex()
        vlek = self._report.signer is Signer.VLEK
        if part == "vek":
            middle = "vlek" if vlek else self._report.chip_id.hex()
            return f"{product}/{middle}/{tcb}"
        return f"{product}/vlek" if vlek and part == "chain" else product

    def authorities(self) -> tuple[Authority, ...]:
        """Return every chain that holds, each intermediate once.

        Raises:
            AttestationError: None does; the refusal of the first.
        """
        found: dict[bytes, Authority] = {}

        def keep(candidate: Endorsement) -> Authority:
            authority = Authority.read(candidate.content, self._roots)
            found.setdefault(authority.certificate.der, authority)
            return authority

        chains = self.candidates("chain")
        first_valid(chains, chains.key, keep)
        for candidate in chains.found[1:MAX_CANDIDATES]:
            try:
                keep(candidate)
            except AttestationError:
                continue  # another one holds
        return tuple(found.values())

    def under_leaf(self, candidate: Endorsement, authorities: tuple[Authority, ...]) -> Genuine:
        """Check the report with one leaf, as `authenticate_report` does."""
        leaf, authority = read_leaf(candidate.content, authorities)
        check_dates((leaf, authority.certificate, authority.root), self._at)
        return conclude(self._report, leaf, authority, self._list_under(authority))

    def _list_under(self, authority: Authority) -> RevocationList | None:
        root = authority.root.sha256
        if root not in self._lists:
            self._lists[root] = self._find_list(authority)
        found = self._lists[root]
        if isinstance(found, AttestationError):
            raise found
        return found

    def _find_list(self, authority: Authority) -> RevocationList | AttestationError | None:
        """Return the newest list that holds: an older one, in date, hides nothing."""
        found: list[RevocationList] = []
        refusal: AttestationError | None = None
        for candidate in self.candidates("crl").found[:MAX_CANDIDATES]:
            try:
                one = RevocationList.read(candidate.content, authority.root, self._at)
                # One that is older than what was seen is refused here; the next may not be.
                self._source.saw(one.fact(authority.product))
            except AttestationError as error:
                refusal = refusal or error
            else:
                found.append(one)
        return max(found, key=lambda one: one.this_update) if found else refusal
