"""Find Intel's collateral for a quote among untrusted candidates, and match the quote with it.

Whoever sends evidence may staple older collateral that has not ended, from before a flaw or
a revocation was known. So every candidate is authenticated, not only the first: a list that
revokes this platform refuses it, whatever else is stapled, and of several candidates the
newest one speaks for Intel. A candidate that does not hold hides no other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from confide.attest.endorsements import (
    MAX_CANDIDATES,
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EndorsementSource,
)
from confide.attest.platforms.tdx.chain import INTEL_ROOT, PinnedRoot
from confide.attest.platforms.tdx.collateral import (
    Collateral,
    RevocationList,
    SignedDocument,
    check_not_revoked,
    check_signed,
    read_lists,
)
from confide.attest.platforms.tdx.signature import SignedQuote
from confide.attest.platforms.tdx.tcb import Verdict, check_about, match_tcb
from confide.errors import AttestationError, EndorsementError

__all__ = ["Checked", "find_collateral"]


@dataclass(frozen=True)
class Checked:
    """What collateral that holds says about a quote.

    Attributes:
        verdict: Status, advisories and date.
        number: The lower `tcbEvaluationDataNumber` of TCB info and QE identity.
        expires_at: Earliest end of all of it.
    """

    verdict: Verdict
    number: int
    expires_at: datetime


@dataclass(frozen=True)
class _Authentic:
    """One candidate: signatures and dates hold, and it is about this platform."""

    tcb_info: SignedDocument = field(repr=False)
    qe_identity: SignedDocument = field(repr=False)
    lists: tuple[RevocationList, RevocationList] = field(repr=False)

    @property
    def newness(self) -> tuple[int, datetime, int, datetime]:
        return (
            self.tcb_info.number,
            self.tcb_info.issued_at,
            self.qe_identity.number,
            self.qe_identity.issued_at,
        )

    def match(self, signed: SignedQuote) -> Checked:
        verdict = match_tcb(
            self.tcb_info.members,
            self.qe_identity.members,
            platform=signed.platform,
            report=signed.quote.report,
            qe_report=signed.quote.qe_report,
        )
        parts = (self.tcb_info, self.qe_identity, *self.lists)
        return Checked(
            verdict,
            number=min(self.tcb_info.number, self.qe_identity.number),
            expires_at=min(part.valid_until for part in parts),
        )


def find_collateral(
    signed: SignedQuote,
    source: EndorsementSource,
    *,
    at: datetime,
    roots: Sequence[PinnedRoot] = (INTEL_ROOT,),
) -> Checked:
    """Match a quote with the newest collateral that holds.

    Args:
        signed: Its signatures hold.
        source: Where candidates are found, untrusted; it is told how new each document is.
        at: Now.
        roots: Accepted roots.

    Raises:
        EndorsementError: collateral.missing, or tdx.revoked: some authentic list of Intel
            names this platform.
        AttestationError: Every candidate was refused, the refusal of the first one; or what
            `match_tcb` makes of the newest one.
    """
    search = _Search(signed, source, at, roots)
    key = EndorsementKey("tdx/collateral", f"{signed.platform.fmspc.hex()}/{signed.authority}")
    found: list[_Authentic] = []
    refusal: AttestationError | None = None
    for candidate in source.find(key)[:MAX_CANDIDATES]:
        try:
            collateral, lists = search.lists(candidate)
        except AttestationError as error:
            refusal = refusal or error
            continue
        check_not_revoked(lists, signed.chain)  # ends the search
        try:
            found.append(search.documents(collateral, lists))
        except AttestationError as error:
            refusal = refusal or error
    if found:
        return max(found, key=lambda one: one.newness).match(signed)
    if refusal is not None:
        raise refusal
    raise EndorsementError(
        f"no endorsement {key}", code="collateral.missing", hint="confide endorsements --help"
    )


class _Search:
    """Authenticates candidates and tells the source what it learnt, each as soon as it holds."""

    def __init__(
        self,
        signed: SignedQuote,
        source: EndorsementSource,
        at: datetime,
        roots: Sequence[PinnedRoot],
    ) -> None:
        self._signed = signed
        self._source = source
        self._at = at
        self._roots = roots

    def lists(
        self, candidate: Endorsement
    ) -> tuple[Collateral, tuple[RevocationList, RevocationList]]:
        """Read a candidate and authenticate its revocation lists."""
        collateral = Collateral.parse(candidate.content)
        of_root, of_pck = read_lists(collateral, self._signed.chain, at=self._at, roots=self._roots)
        self._saw("tdx/pckcrl", self._signed.authority, of_pck)
        self._saw("tdx/rootcrl", "", of_root)
        return collateral, (of_root, of_pck)

    def documents(
        self, collateral: Collateral, lists: tuple[RevocationList, RevocationList]
    ) -> _Authentic:
        """Authenticate TCB info and QE identity, and see that they are about this platform."""
        revoked = lists[0].serials
        tcb_info = check_signed(
            collateral.tcb_info, collateral.tcb_info_signature, collateral.tcb_info_issuer_chain,
            "tcb_info", revoked=revoked, at=self._at, roots=self._roots,
        )  # fmt: skip
        qe_identity = check_signed(
            collateral.qe_identity, collateral.qe_identity_signature,
            collateral.qe_identity_issuer_chain,
            "qe_identity", revoked=revoked, at=self._at, roots=self._roots,
        )  # fmt: skip
        platform = self._signed.platform
        check_about(tcb_info.members, qe_identity.members, platform)
        self._saw("tdx/tcb", platform.fmspc.hex(), tcb_info)
        self._saw("tdx/qe", "td", qe_identity)
        return _Authentic(tcb_info, qe_identity, lists)

    def _saw(self, kind: str, subject: str, part: RevocationList | SignedDocument) -> None:
        key = EndorsementKey(kind, subject)
        self._source.saw(CollateralFact(key, part.issued_at, part.number))
