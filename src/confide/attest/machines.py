"""The leaves that ask: is this one of the machines we know?

A genuine report does not prove that the processor stands in a locked room. Whoever can
touch the memory bus of a machine may take its attestation key (WireTap, Battering RAM,
TEE.fail), so a policy can name the machines it trusts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from confide.attest.claims import GPUS, MISSING, Claims
from confide.attest.factors import FactorSpec, Owner
from confide.attest.requirements import Leaf
from confide.errors import AppraisalError, ConfigError

__all__ = ["DeviceIn", "MachineIn"]

_MACHINE_CODES: Final = {"chip_id": "snp.chip_not_listed", "platform_id": "tdx.platform_not_listed"}
_NEXT: Final = "confide policy check FILE"


@dataclass(frozen=True)
class MachineIn(Leaf):
    """Accepts the listed machines.

    Attributes:
        claim: The claim that names the machine: "chip_id" (bytes) or "platform_id" (hex).
        values: Accepted values in lower-case hex; at least one.
    """

    claim: str
    values: frozenset[str]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("MachineIn of nothing: an absent expectation is a refusal")

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return frozenset({self.claim})

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return frozenset({self.claim})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """See `Requirement.factors`."""
        name = "tdx machine listed" if platform.endswith("tdx") else "snp machine listed"
        return (FactorSpec(name, Owner.OPERATOR, next_command=_NEXT, claim=self.claim),)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"machine_in": [self.claim, sorted(self.values)]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to every machine that is not listed, and to one that does not say which."""
        actual = claims.get(self.claim, MISSING)
        shown = actual.hex() if isinstance(actual, bytes) else str(actual).lower()
        # A masked chip id is all zero, on every machine at once.
        if shown in self.values and set(shown) != {"0"}:
            return []
        return [
            AppraisalError(
                self.claim,
                expected=f"one of {len(self.values)} listed machines",
                actual=shown,
                code=_MACHINE_CODES.get(self.claim),
            )
        ]


@dataclass(frozen=True)
class DeviceIn(Leaf):
    """Accepts GPUs and switches with the listed serial numbers, and no other.

    Attributes:
        values: Accepted serial numbers in lower-case hex; at least one.
    """

    values: frozenset[str]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("DeviceIn of nothing: an absent expectation is a refusal")

    def decides(self) -> frozenset[str]:
        """Nothing that others need not decide as well: the number of GPUs is theirs."""
        return frozenset()

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return frozenset({GPUS})

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"device_in": sorted(self.values)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each device that is not listed."""
        gpus = claims.get(GPUS, MISSING)
        if not isinstance(gpus, tuple) or not gpus:
            return [
                AppraisalError(
                    GPUS, expected="listed devices", actual="none", code="nv.device_not_listed"
                )
            ]
        return [
            AppraisalError(
                f"{GPUS}.{index}.device",
                expected=f"one of {len(self.values)} listed devices",
                actual=gpu.get("device", MISSING),
                code="nv.device_not_listed",
            )
            for index, gpu in enumerate(gpus)
            if str(gpu.get("device", MISSING)).lower() not in self.values
        ]
