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
from typing import Final, Protocol

from confide.attest.claims import (
    DEBUGGABLE,
    DOCUMENT,
    GPUS,
    MANIFEST,
    MEASUREMENT,
    MISSING,
    PLATFORM,
    PRODUCT,
    TCB,
    Claims,
)
from confide.attest.reference_values import ReferenceValues
from confide.attest.results import to_unix
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "ESSENTIAL",
    "AllOf",
    "AnyOf",
    "AppraisalPolicy",
    "GpuConfidential",
    "MeasurementIn",
    "MinimumTcb",
    "NotDebuggable",
    "PinnedKey",
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

    def not_after(self) -> datetime | None:
        """Return when this node stops accepting anything, or None for never."""
        ...

    def describe(self) -> object:
        """Return plain values that say all this node demands; they enter the digest."""
        ...

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Return every reason to refuse; empty means accepted."""
        ...


def _hex(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _earliest(nodes: tuple[Requirement, ...]) -> datetime | None:
    dates = [end for node in nodes if (end := node.not_after()) is not None]
    return min(dates, default=None)


def _at_least_one(name: str, nodes: tuple[Requirement, ...]) -> None:
    if not nodes:
        raise ConfigError(f"{name} of nothing: an absent expectation is a refusal")


class _Leaf:
    """Shared by nodes that read a fixed set of claims and have no date of their own."""

    _claims: frozenset[str] = frozenset()

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return self._claims

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self._claims

    def not_after(self) -> datetime | None:
        """See `Requirement.not_after`."""
        return None


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


@dataclass(frozen=True)
class MeasurementIn(_Leaf):
    """Accepts a workload of the reference values: platform, measurement and manifest."""

    reference: ReferenceValues
    _claims = frozenset({MEASUREMENT, MANIFEST})

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self._claims | {PLATFORM}

    def not_after(self) -> datetime | None:
        """Return the end of the reference values."""
        return self.reference.not_after

    def describe(self) -> object:
        """See `Requirement.describe`."""
        values = [
            [value.platform, value.measurement.hex(), value.manifest_sha256.hex()]
            for value in self.reference.values
        ]
        return {"measurement_in": sorted(values), "until": to_unix(self.reference.not_after)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless one reference value matches in all three respects."""
        measurement = claims.get(MEASUREMENT, MISSING)
        manifest = claims.get(MANIFEST, MISSING)
        name = self.reference.name
        known = [
            value
            for value in self.reference.values
            if value.platform == claims.platform and value.measurement == measurement
        ]
        if not known:
            return [
                AppraisalError(
                    MEASUREMENT,
                    expected=f"a workload of {name} on {claims.platform}",
                    actual=_hex(measurement),
                )
            ]
        if not any(value.manifest_sha256 == manifest for value in known):
            return [
                AppraisalError(MANIFEST, expected=f"the manifest of {name}", actual=_hex(manifest))
            ]
        return []


@dataclass(frozen=True)
class TcbFloor:
    """Lowest accepted security version of each component of one product.

    Attributes:
        platform: Such as "sev-snp".
        product: Such as "Genoa".
        components: Lowest accepted version by component; at least one.
    """

    platform: str
    product: str
    components: Mapping[str, int]

    def __post_init__(self) -> None:
        if not self.components:
            raise ConfigError(
                f"no TCB floor for {self.product}: an absent expectation is a refusal"
            )


@dataclass(frozen=True)
class MinimumTcb(_Leaf):
    """Accepts firmware at or above the floor of its product; refuses unlisted products."""

    floors: tuple[TcbFloor, ...]
    _claims = frozenset({TCB, PRODUCT})

    def __post_init__(self) -> None:
        if not self.floors:
            raise ConfigError("MinimumTcb of nothing: an absent expectation is a refusal")

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self._claims | {PLATFORM}

    def describe(self) -> object:
        """See `Requirement.describe`."""
        floors = [[f.platform, f.product, sorted(f.components.items())] for f in self.floors]
        return {"minimum_tcb": floors}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to an unlisted product, and to each component that is missing or too low."""
        product = claims.get(PRODUCT, MISSING)
        floors = [
            floor
            for floor in self.floors
            if floor.platform == claims.platform and floor.product == product
        ]
        if not floors:
            listed = ", ".join(sorted({floor.product for floor in self.floors}))
            return [AppraisalError(PRODUCT, expected=listed, actual=product)]
        tcb = claims.get(TCB, MISSING)
        if not isinstance(tcb, Mapping):
            return [AppraisalError(TCB, expected="a version of each component", actual=tcb)]
        return [objection for floor in floors for objection in _below(floor, tcb)]


def _below(floor: TcbFloor, tcb: Mapping[object, object]) -> list[AppraisalError]:
    """Compare each component; one that the floor does not list is undecided, so refused."""
    names = sorted({*floor.components, *(str(name) for name in tcb)})
    objections = []
    for name in names:
        actual, lowest = tcb.get(name, MISSING), floor.components.get(name)
        if lowest is None:
            objections.append(
                AppraisalError(f"{TCB}.{name}", expected="a listed component", actual=actual)
            )
        elif type(actual) is not int or actual < lowest:
            objections.append(
                AppraisalError(f"{TCB}.{name}", expected=f"at least {lowest}", actual=actual)
            )
    return objections


@dataclass(frozen=True)
class NotDebuggable(_Leaf):
    """Refuses an enclave whose memory its host may read."""

    _claims = frozenset({DEBUGGABLE})

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return "not_debuggable"

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless the claim is present and false. A missing claim is an objection."""
        debuggable = claims.get(DEBUGGABLE, MISSING)
        if debuggable is False:
            return []
        return [AppraisalError(DEBUGGABLE, expected=False, actual=debuggable)]


@dataclass(frozen=True)
class PinnedKey(_Leaf):
    """Accepts one key document and no other. It narrows; it replaces no other demand.

    Attributes:
        document_sha256: 32 bytes.
    """

    document_sha256: bytes
    _claims = frozenset({DOCUMENT})

    def __post_init__(self) -> None:
        if len(self.document_sha256) != 32:
            raise ConfigError(f"document_sha256 must be 32 bytes, not {len(self.document_sha256)}")

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"pinned_key": self.document_sha256.hex()}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to every other document."""
        document = claims.get(DOCUMENT, MISSING)
        if document == self.document_sha256:
            return []
        return [
            AppraisalError(DOCUMENT, expected=self.document_sha256.hex(), actual=_hex(document))
        ]


@dataclass(frozen=True)
class GpuConfidential(_Leaf):
    """Accepts exactly `count` different GPUs, all in confidential mode without developer tools."""

    count: int
    _claims = frozenset({GPUS})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError("GpuConfidential of no GPU: an absent expectation is a refusal")

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"gpu_confidential": self.count}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to a wrong number, to a device listed twice and to each unprotected GPU."""
        gpus = claims.get(GPUS, ())
        gpus = gpus if isinstance(gpus, tuple) else ()
        if len(gpus) != self.count:
            return [AppraisalError(GPUS, expected=self.count, actual=len(gpus), code="nv.count")]
        devices = {gpu.get("device", MISSING) for gpu in gpus}
        objections = []
        if MISSING in devices or len(devices) != self.count:
            objections.append(
                AppraisalError(
                    GPUS,
                    expected=f"{self.count} different devices",
                    actual=len(devices - {MISSING}),
                    code="nv.duplicate_device",
                )
            )
        for index, gpu in enumerate(gpus):
            for claim, wanted in (("confidential", True), ("developer_tools", False)):
                actual = gpu.get(claim, MISSING)
                if actual is not wanted:
                    name = f"{GPUS}.{index}.{claim}"
                    objections.append(
                        AppraisalError(name, expected=wanted, actual=actual, code="nv.mode")
                    )
        return objections


@dataclass(frozen=True)
class AppraisalPolicy:
    """A whole policy: what is demanded, under which name, until when.

    Attributes:
        requirement: The tree.
        name: For people; it is part of the result.
        not_after: The policy accepts nothing at or after this instant.
        file_sha256: Digest of the file it was read from, 32 bytes; empty if it was not.

    Raises:
        ConfigError: A claim of `ESSENTIAL` can stay undecided.
    """

    requirement: Requirement
    name: str
    not_after: datetime
    file_sha256: bytes = field(default=b"", repr=False)

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
        whole = [self.name, to_unix(self.not_after), self.requirement.describe()]
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
