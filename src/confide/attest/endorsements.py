"""Endorsements: what a chip vendor says about its chips (certificates, lists, TCB data).

Everything here is untrusted transport of vendor-signed bytes: a source only *finds*
candidates, and the platform checks signature and dates of each one every time it is used.
What was checked is told back to the source as a `CollateralFact`, so that a source with a
memory can refuse data older than what it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, TypeVar

from confide.attest.strict_json import read_base64url
from confide.errors import AttestationError, EndorsementError, EvidenceError

__all__ = [
    "MAX_CANDIDATES",
    "MAX_ENDORSEMENT",
    "CollateralFact",
    "Endorsement",
    "EndorsementKey",
    "EndorsementSource",
    "EverySource",
    "StapledEndorsements",
    "first_valid",
]

MAX_ENDORSEMENT: Final = 256 * 1024
"""Largest single endorsement, in bytes."""
MAX_CANDIDATES: Final = 16
"""Most candidates that a platform tries for one key."""

T = TypeVar("T")


@dataclass(frozen=True)
class EndorsementKey:
    """What is looked for.

    Attributes:
        kind: "group/part" as in the envelope's `collateral`, such as "snp/vek".
        subject: Which one, for sources that hold many, such as "Genoa/<chip id>/<tcb>".
            What is stapled is found by kind alone, so the platform must not rely on it.
    """

    kind: str
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}".rstrip()


@dataclass(frozen=True)
class Endorsement:
    """One piece of vendor-signed data, not yet checked.

    Attributes:
        key: What it was found under.
        content: At most 256 KiB, as the vendor made it.
        source: Where it was found, for messages.
    """

    key: EndorsementKey
    content: bytes = field(repr=False)
    source: str


@dataclass(frozen=True)
class CollateralFact:
    """What a checked signature says about how new a list or TCB document is.

    Attributes:
        key: Kind and issuer, such as ("snp/crl", "Genoa"). One line of history each.
        issued_at: `thisUpdate` or `issueDate`.
        number: CRL number or `tcbEvaluationDataNumber`; None if there is none.
    """

    key: EndorsementKey
    issued_at: datetime
    number: int | None = None


class EndorsementSource(Protocol):
    """A place where endorsements are found: a file, a cache, the envelope itself."""

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """Return candidates, the most promising first; empty if there is none.

        Raises:
            EvidenceError: What is held there is malformed.
        """
        ...

    def saw(self, fact: CollateralFact) -> None:
        """Take note of a fact whose signature was checked.

        Raises:
            EndorsementError: collateral.rollback; newer data was seen before.
        """
        ...


@dataclass(frozen=True)
class StapledEndorsements:
    """What the sender stapled: `{"snp": {"vek": "<base64url>"}, "nvidia": {"ocsp": [...]}}`."""

    collateral: Mapping[str, object] = field(repr=False)

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """Return what is stapled under the kind, whatever the subject."""
        group, _, part = key.kind.partition("/")
        held = self.collateral.get(group)
        content = held.get(part) if isinstance(held, Mapping) else None
        if content is None:
            return ()
        listed = content if isinstance(content, list) else [content]
        if len(listed) > MAX_CANDIDATES:
            raise EvidenceError(
                f"{len(listed)} endorsements are stapled as {key.kind}, more than {MAX_CANDIDATES}",
                code="envelope.size",
            )
        return tuple(
            Endorsement(
                key, read_base64url(one, "collateral", limit=MAX_ENDORSEMENT), source="stapled"
            )
            for one in listed
        )

    def saw(self, fact: CollateralFact) -> None:
        """Remember nothing: an envelope has no history."""


@dataclass(frozen=True)
class EverySource:
    """Candidates of several sources, in order. A stale cache does not hide a fresh staple."""

    sources: tuple[EndorsementSource, ...]

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """Return what all sources hold under `key`."""
        return tuple(found for source in self.sources for found in source.find(key))

    def saw(self, fact: CollateralFact) -> None:
        """Tell every source."""
        for source in self.sources:
            source.saw(fact)


def first_valid(
    source: EndorsementSource, key: EndorsementKey, check: Callable[[Endorsement], T]
) -> T:
    """Return what `check` makes of the first candidate that it does not refuse.

    Args:
        source: Where to look.
        key: What to look for.
        check: Checks signature, dates and fit of one candidate; raises to refuse it.

    Raises:
        EndorsementError: collateral.missing.
        AttestationError: Every candidate was refused; the refusal of the first one.
    """
    refusal: AttestationError | None = None
    for candidate in source.find(key)[:MAX_CANDIDATES]:
        try:
            return check(candidate)
        except AttestationError as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    raise EndorsementError(
        f"no endorsement {key}", code="collateral.missing", hint="confide endorsements --help"
    )
