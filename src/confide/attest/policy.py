"""What evidence is good enough: appraisal policies as small objects.

A policy is a non-empty tree of named objects (RFC 9334 section 8.5). Leaves look at few
claims each; `AllOf` and `AnyOf` combine them. Nothing here is optional or unset, and
**an absent expectation is a refusal**: a missing claim is an objection, an empty
combination cannot be built, and an `AppraisalPolicy` that leaves the measurement, the
manifest, the debug state or the TCB undecided cannot be built either.

    policy = AppraisalPolicy(
        AllOf(MeasurementIn(release), MinimumTcb((genoa,)), NotDebuggable()),
        name="production",
        not_after=datetime(2027, 2, 1, tzinfo=UTC),
    )

No object in this module accepts simulated evidence; there is none that could.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

from confide.attest.claims import DEBUGGABLE, MANIFEST, MEASUREMENT, PLATFORM, TCB, Claims
from confide.attest.evidence import EvidenceKind
from confide.attest.factors import FactorSpec
from confide.attest.measurements import ManifestIn, MeasurementIn
from confide.attest.requirements import (
    GpuConfidential,
    MinimumTcb,
    NotDebuggable,
    PinnedKey,
    TcbFloor,
)
from confide.attest.results import to_unix
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "ESSENTIAL",
    "AllOf",
    "AnyOf",
    "AppraisalPolicy",
    "ByPlatform",
    "GpuConfidential",
    "ManifestIn",
    "MeasurementIn",
    "MinimumTcb",
    "NotDebuggable",
    "PinnedKey",
    "Profile",
    "Requirement",
    "TcbFloor",
]

ESSENTIAL: Final = frozenset({MEASUREMENT, MANIFEST, DEBUGGABLE, TCB})
"""Claims that every way of satisfying a policy must have decided."""

_DIGEST_LABEL = b"confide/appraisal-policy/v1\0"


class Requirement(Protocol):
    """One node of a policy."""

    def decides(self) -> frozenset[str]:
        """Return the claims that are decided whenever this node has no objection."""
        ...

    def looks_at(self) -> frozenset[str]:
        """Return every claim this node may read."""
        ...

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """Return the factors this node examines on `platform`, each with its claim."""
        ...

    def not_after(self) -> datetime | None:
        """Return when this node stops accepting anything, or None for never."""
        ...

    def describe(self) -> object:
        """Return plain values that say all this node demands; they enter the digest."""
        ...

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Return every reason to refuse; empty means accepted."""
        ...


def _earliest(nodes: tuple[Requirement, ...]) -> datetime | None:
    dates = [end for node in nodes if (end := node.not_after()) is not None]
    return min(dates, default=None)


def _factors(nodes: tuple[Requirement, ...], platform: str) -> tuple[FactorSpec, ...]:
    """Join the factors of several nodes; one that two of them examine is listed once."""
    found = {spec.name: spec for node in nodes for spec in node.factors(platform)}
    return tuple(found.values())


def _at_least_one(name: str, nodes: tuple[Requirement, ...]) -> None:
    if not nodes:
        raise ConfigError(f"{name} of nothing: an absent expectation is a refusal")


class AllOf:
    """Accepts what every part accepts; objects with the objections of all parts.

    Raises:
        ConfigError: No parts are given.
    """

    def __init__(self, *parts: Requirement) -> None:
        _at_least_one("AllOf", parts)
        self.parts = parts

    def decides(self) -> frozenset[str]:
        """Return what any part decides."""
        return frozenset().union(*(part.decides() for part in self.parts))

    def looks_at(self) -> frozenset[str]:
        """Return what any part reads."""
        return frozenset().union(*(part.looks_at() for part in self.parts))

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """Return those of all parts."""
        return _factors(self.parts, platform)

    def not_after(self) -> datetime | None:
        """Return the earliest end of any part."""
        return _earliest(self.parts)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"all_of": [part.describe() for part in self.parts]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Collect the objections of all parts."""
        return [objection for part in self.parts for objection in part.objections(claims)]


class AnyOf:
    """Accepts what at least one part accepts; objects with the objections of all parts.

    Raises:
        ConfigError: No parts are given.
    """

    def __init__(self, *parts: Requirement) -> None:
        _at_least_one("AnyOf", parts)
        self.parts = parts

    def decides(self) -> frozenset[str]:
        """Return what every part decides, since any of them may be the one that accepts."""
        return frozenset.intersection(*(part.decides() for part in self.parts))

    def looks_at(self) -> frozenset[str]:
        """Return what any part reads."""
        return frozenset().union(*(part.looks_at() for part in self.parts))

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """Return those of all parts."""
        return _factors(self.parts, platform)

    def not_after(self) -> datetime | None:
        """Return the earliest end of any part: careful, and simple to say."""
        return _earliest(self.parts)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"any_of": [part.describe() for part in self.parts]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Return nothing if one part accepts, else everything."""
        found = [part.objections(claims) for part in self.parts]
        if not all(found):
            return []
        return [objection for objections in found for objection in objections]


class ByPlatform:
    """Demands of each platform what is listed for it; refuses a platform that is not listed.

    Args:
        branches: What is demanded, by platform type such as "sev-snp".

    Raises:
        ConfigError: No platform is listed, or the simulated one is.
    """

    def __init__(self, branches: Mapping[str, Requirement]) -> None:
        _at_least_one("ByPlatform", tuple(branches.values()))
        if EvidenceKind.SOFTWARE_DEV in branches:
            raise ConfigError("a policy cannot name simulated evidence")
        self.branches = MappingProxyType(dict(branches))

    def decides(self) -> frozenset[str]:
        """Return what every branch decides, since any of them may be the one that applies."""
        return frozenset.intersection(*(part.decides() for part in self.branches.values()))

    def looks_at(self) -> frozenset[str]:
        """Return what any branch reads, and the platform."""
        return frozenset({PLATFORM}).union(*(part.looks_at() for part in self.branches.values()))

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """Return those of the branch for `platform`; none if it is not listed."""
        branch = self.branches.get(platform)
        return () if branch is None else branch.factors(platform)

    def not_after(self) -> datetime | None:
        """Return the earliest end of any branch: careful, and simple to say."""
        return _earliest(tuple(self.branches.values()))

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"by_platform": [[n, p.describe()] for n, p in sorted(self.branches.items())]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Ask the branch of the claims' platform; without one, refuse."""
        branch = self.branches.get(claims.platform)
        if branch is None:
            return [
                AppraisalError(
                    PLATFORM,
                    expected=", ".join(sorted(self.branches)),
                    actual=claims.platform,
                    code="policy.platform",
                )
            ]
        return branch.objections(claims)


class Profile(StrEnum):
    """What a policy is for. It loosens nothing; it is part of every result."""

    PRODUCTION = "production"
    LAB = "lab"


@dataclass(frozen=True)
class AppraisalPolicy:
    """A whole policy: what is demanded, under which name, until when.

    Attributes:
        requirement: The tree.
        name: For people; it is part of the result.
        not_after: The policy accepts nothing at or after this instant.
        file_sha256: Digest of the file it was read from, 32 bytes; empty if it was not.
        profile: What it is for. A result of a lab policy says so wherever it is shown.

    Raises:
        ConfigError: A claim of `ESSENTIAL` can stay undecided.
    """

    requirement: Requirement
    name: str
    not_after: datetime
    file_sha256: bytes = field(default=b"", repr=False)
    profile: Profile = Profile.PRODUCTION

    def __post_init__(self) -> None:
        to_unix(self.not_after)
        undecided = ESSENTIAL - self.requirement.decides()
        if undecided:
            raise ConfigError(
                f"policy {self.name!r} leaves undecided: {', '.join(sorted(undecided))}",
                hint="an absent expectation is a refusal; demand something of each",
            )

    @property
    def expires_at(self) -> datetime:
        """The earlier of the policy's own end and that of its reference values."""
        inner = self.requirement.not_after()
        return self.not_after if inner is None else min(self.not_after, inner)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the policy file, or of all that the objects demand; 32 bytes."""
        if self.file_sha256:
            return self.file_sha256
        whole = [
            self.name,
            str(self.profile),
            to_unix(self.not_after),
            self.requirement.describe(),
        ]
        return hashlib.sha256(_DIGEST_LABEL + json.dumps(whole).encode()).digest()

    def objections(self, claims: Claims, at: datetime) -> list[AppraisalError]:
        """Return every reason to refuse; empty means accepted.

        Args:
            claims: What the processor said.
            at: Now.
        """
        found = self.requirement.objections(claims)
        if at >= self.expires_at:
            ended = AppraisalError(
                "policy", expected=f"used before {self.expires_at}", actual="expired",
                code="policy.expired",
            )  # fmt: skip
            return [ended, *found]
        return found
