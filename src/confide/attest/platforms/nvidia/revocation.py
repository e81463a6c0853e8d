"""Find out whether NVIDIA has withdrawn a device, from whatever answers are at hand.

Device certificates end in the year 9999, so revocation is the only way a device is ever
withdrawn. Asked are OCSP answers for every certificate between the leaf and the root,
and lists where no answer is found. One authentic "revoked" refuses the device, whatever
else is stapled. What is *missing* is a claim, not a refusal: how much must be known is
the policy's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from cryptography import x509

from confide.attest.endorsements import (
    CollateralFact,
    EndorsementKey,
    EndorsementSource,
)
from confide.attest.platforms.nvidia.crl import check_list, names_a_list
from confide.attest.platforms.nvidia.ocsp import CertificateId, check_answer, read_answers
from confide.errors import AttestationError, EndorsementError

__all__ = ["CRL", "NONE", "OCSP", "Standing", "check_revocation"]

OCSP: Final = "ocsp"
CRL: Final = "crl"
NONE: Final = "none"
_UNLISTED: Final = "unlisted"
_MAX_TRIED: Final = 64
"""Stapled answers are found by kind alone, so those of sixteen devices are candidates for each."""


@dataclass(frozen=True)
class Standing:
    """What is known about the certificates of one device; none of them is revoked.

    Attributes:
        method: "ocsp" if every certificate has an OCSP answer; "crl" if every certificate
            that names a list is covered by one (or by an answer); "none" otherwise.
        valid_until: Earliest end of what was used, or None.
        problem: Code of the first answer that could not be used, such as
            "nv.ocsp_expired"; empty if there was none.
    """

    method: str
    valid_until: datetime | None
    problem: str


def check_revocation(
    chain: Sequence[x509.Certificate], source: EndorsementSource, *, at: datetime
) -> Standing:
    """Ask about every certificate between leaf and root.

    Args:
        chain: Leaf first, root last; checked.
        source: Where OCSP answers ("nvidia/ocsp") and lists ("nvidia/crl") are found.
        at: Now.

    Raises:
        EndorsementError: nv.revoked, or nv.ocsp_unknown_cert: a responder does not know a
            certificate that its own authority signed.
    """
    methods: list[str] = []
    ends: list[datetime] = []
    problems: list[str] = []
    for certificate, issuer in pairwise(chain[1:]):
        inquiry = _Inquiry(certificate, issuer, source, at)
        method, end = inquiry.ask()
        methods.append(method)
        problems += inquiry.problems
        if end is not None:
            ends.append(end)
    return Standing(_joined(methods), min(ends, default=None), next(iter(problems), ""))


def _joined(methods: Sequence[str]) -> str:
    answered = {OCSP, CRL} & set(methods)
    if not answered or NONE in methods:
        return NONE
    return OCSP if set(methods) == {OCSP} else CRL


class _Inquiry:
    """Collects what is known about one certificate."""

    def __init__(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        source: EndorsementSource,
        at: datetime,
    ) -> None:
        self._certificate = certificate
        self._issuer = issuer
        self._source = source
        self._at = at
        self.problems: list[str] = []

    def ask(self) -> tuple[str, datetime | None]:
        """Return the method that answered, and until when the answer is good."""
        # Both are always asked: one "revoked" counts more than any number of other answers.
        answers, lists = self._ocsp(), self._lists()
        if answers:
            return OCSP, max(answers)
        if lists:
            return CRL, max(lists)
        return (NONE if names_a_list(self._certificate) else _UNLISTED), None

    def _ocsp(self) -> list[datetime]:
        key = EndorsementKey("nvidia/ocsp", str(CertificateId.of(self._certificate, self._issuer)))
        found = []
        candidates = self._source.find(key)[:_MAX_TRIED]
        for response in read_answers(one.content for one in candidates):
            try:
                answer = check_answer(response, self._certificate, self._issuer, at=self._at)
            except AttestationError as error:
                self.problems.append(error.code)
                continue
            if answer is None:
                continue
            # Also of a revocation: an older "good" must not take it back next time.
            seen = self._seen(CollateralFact(key, answer.issued_at))
            if answer.status == "revoked":
                raise self._revoked()
            if not seen:
                continue
            if answer.status != "good":
                raise EndorsementError(
                    "the OCSP responder does not know a certificate of the device",
                    code="nv.ocsp_unknown_cert",
                )
            found.append(answer.valid_until)
        return found

    def _lists(self) -> list[datetime]:
        key = EndorsementKey("nvidia/crl", self._issuer.subject.rfc4514_string())
        found = []
        for candidate in self._source.find(key)[:_MAX_TRIED]:
            try:
                listed = check_list(candidate.content, self._certificate, self._issuer, at=self._at)
            except AttestationError as error:
                self.problems.append(error.code)
                continue
            if listed is None:
                continue
            seen = self._seen(CollateralFact(key, listed.issued_at, listed.number))
            if listed.revoked:
                raise self._revoked()
            if not seen:
                continue
            found.append(listed.valid_until)
        return found

    def _seen(self, fact: CollateralFact) -> bool:
        """Tell the source; return whether nothing newer was seen before."""
        try:
            self._source.saw(fact)
        except AttestationError as error:
            self.problems.append(error.code)
            return False
        return True

    def _revoked(self) -> EndorsementError:
        name = self._certificate.subject.rfc4514_string()
        return EndorsementError(f"NVIDIA has revoked {name}", code="nv.revoked")
