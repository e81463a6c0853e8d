"""The leaves of a policy: each looks at few claims and demands one thing.

A claim that is not there is an objection, and a demand for nothing cannot be built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

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
from confide.attest.factors import FactorSpec
from confide.attest.reference_values import ReferenceValues
from confide.attest.results import to_unix
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "GpuConfidential",
    "MeasurementIn",
    "MinimumTcb",
    "NotDebuggable",
    "PinnedKey",
    "TcbFloor",
]


def _hex(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


class _Leaf:
    """Shared by nodes that read a fixed set of claims and have no date of their own."""

    _claims: frozenset[str] = frozenset()

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return self._claims

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self._claims

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`: the common factors cover these claims."""
        return ()

    def not_after(self) -> datetime | None:
        """See `Requirement.not_after`."""
        return None


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
