"""The leaves of a policy: each looks at few claims and demands one thing.

A claim that is not there is an objection, and a demand for nothing cannot be built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confide.attest.claims import (
    DEBUGGABLE,
    DOCUMENT,
    GPUS,
    MISSING,
    PLATFORM,
    PRODUCT,
    TCB,
    Claims,
)
from confide.attest.factors import FactorSpec
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "GpuConfidential",
    "Leaf",
    "MinimumTcb",
    "NotDebuggable",
    "PinnedKey",
    "TcbFloor",
]


_TCB_CODES: Final = {"sev-snp": "snp.tcb_reported", "azure-sev-snp": "snp.tcb_reported"}
_DEBUG_CODES: Final = {
    "azure-sev-snp": "snp.debug_allowed",
    "azure-tdx": "tdx.debug",
    "sev-snp": "snp.debug_allowed",
    "tdx": "tdx.debug",
}


def _hex(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


class Leaf:
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
class MinimumTcb(Leaf):
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
        code = _TCB_CODES.get(claims.platform)
        return [objection for floor in floors for objection in _below(floor, tcb, code)]


def _below(floor: TcbFloor, tcb: Mapping[object, object], code: str | None) -> list[AppraisalError]:
    """Compare each component; one that the floor does not list is undecided, so refused."""
    names = sorted({*floor.components, *(str(name) for name in tcb)})
    objections = []
    for name in names:
        actual, lowest = tcb.get(name, MISSING), floor.components.get(name)
        if lowest is None:
            objections.append(
                AppraisalError(
                    f"{TCB}.{name}", expected="a listed component", actual=actual, code=code
                )
            )
        elif type(actual) is not int or actual < lowest:
            objections.append(
                AppraisalError(
                    f"{TCB}.{name}", expected=f"at least {lowest}", actual=actual, code=code
                )
            )
    return objections


@dataclass(frozen=True)
class NotDebuggable(Leaf):
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
        code = _DEBUG_CODES.get(claims.platform)
        return [AppraisalError(DEBUGGABLE, expected=False, actual=debuggable, code=code)]


@dataclass(frozen=True)
class PinnedKey(Leaf):
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
class GpuConfidential(Leaf):
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
