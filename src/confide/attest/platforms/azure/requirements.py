"""What a policy may demand of a guest of Azure: paravisor, PCRs, and settings of the machine.

The launch measurement of the hardware's report is Microsoft's paravisor. What the guest
booted is in the PCRs, so a policy without PCRs would accept any guest of Azure; there is
no such policy. And PCRs are only as good as the program that keeps them: whoever owns a
genuine machine can write a runtime document, a key, a TPM quote and PCRs of their own. Only
the measurement, or the key that signed the launch, tells that program from Microsoft's, so
there is no policy without one of them either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from confide.attest.claims import MEASUREMENT, MISSING, PLATFORM, Claims
from confide.attest.factors import FactorSpec, Owner
from confide.attest.platforms.azure.tpm_quote import PCR_COUNT
from confide.attest.requirements import Leaf
from confide.errors import AppraisalError, ConfigError

__all__ = ["ParavisorIn", "PcrsAre", "VmSettings"]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_POLICY: Final = "confide policy check FILE"
_TDX: Final = "azure-tdx"


@dataclass(frozen=True)
class ParavisorIn(Leaf):
    """Accepts what the hardware launched, by measurement or by who signed it.

    It decides the measurement; the PCRs that count are kept by what was launched.

    Attributes:
        launches: Accepted launch measurements, 48 bytes each: MEASUREMENT of SEV-SNP, MRTD
            of TDX.
        id_keys: Accepted ID_KEY_DIGEST of SEV-SNP, 48 bytes each: the processor checked the
            signature of the ID block by that key over the measurement.
    """

    launches: frozenset[bytes] = frozenset()
    id_keys: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        if not self.launches and not self.id_keys:
            raise ConfigError("ParavisorIn of nothing: an absent expectation is a refusal")

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return frozenset({MEASUREMENT})

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return frozenset({MEASUREMENT, PLATFORM, "mr_td", "id_key_digest"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec(
                "azure paravisor accepted", Owner.CLOUD, next_command=_POLICY, claim=MEASUREMENT
            ),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        listed = (self.launches, self.id_keys)
        return {"paravisor": [sorted(one.hex() for one in values) for values in listed]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless the launch, or the key that signed it, is listed."""
        tdx = claims.platform == _TDX
        launched = claims.get("mr_td" if tdx else MEASUREMENT, MISSING)
        # MRTD has no signer; a claim of that name would not be the processor's.
        signed_by = MISSING if tdx else claims.get("id_key_digest", MISSING)
        if launched in self.launches or signed_by in self.id_keys:
            return []
        return [
            AppraisalError(
                MEASUREMENT,
                expected="a listed paravisor",
                actual=launched.hex() if isinstance(launched, bytes) else launched,
                code="azure.paravisor",
            )
        ]


@dataclass(frozen=True)
class PcrsAre(Leaf):
    """Accepts listed values of listed PCRs (SHA-256 bank).

    Attributes:
        values: Accepted values in lower-case hex by number of the PCR; at least one PCR,
            each with at least one value.
    """

    values: Mapping[int, frozenset[str]]
    _claims = frozenset({"pcrs", "ak_bound"})

    def __post_init__(self) -> None:
        if not self.values or not all(self.values.values()):
            raise ConfigError("PcrsAre of nothing: an absent expectation is a refusal")
        if not all(0 <= number < PCR_COUNT for number in self.values):
            raise ConfigError(f"PCRs are numbered 0 to {PCR_COUNT - 1}")

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec("azure pcrs accepted", Owner.OPERATOR, next_command=_POLICY, claim="pcrs"),
            FactorSpec("azure key bound", Owner.CLOUD, next_command=_ASK, claim="ak_bound"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {
            "pcrs": [[number, sorted(values)] for number, values in sorted(self.values.items())]
        }

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each PCR with another value, and to PCRs that nobody vouches for."""
        found = claims.get("pcrs", MISSING)
        pcrs = found if isinstance(found, Mapping) else {}
        objections = [
            AppraisalError(
                f"pcrs.{number}",
                expected=" or ".join(sorted(values)),
                actual=pcrs.get(str(number), MISSING),
                code="azure.pcr",
            )
            for number, values in sorted(self.values.items())
            if pcrs.get(str(number), MISSING) not in values
        ]
        bound = claims.get("ak_bound", MISSING)
        if bound is not True:
            objections.append(
                AppraisalError("ak_bound", expected=True, actual=bound, code="azure.ak_missing")
            )
        return objections


@dataclass(frozen=True)
class VmSettings(Leaf):
    """Accepts virtual machines with these settings, as the paravisor states them.

    Attributes:
        values: Wanted value by name, such as {"secure-boot": True}; at least one.
    """

    values: Mapping[str, bool | str]
    _claims = frozenset({"vm"})

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("VmSettings of nothing: an absent expectation is a refusal")

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (FactorSpec("azure vm settings", Owner.OPERATOR, next_command=_POLICY, claim="vm"),)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"vm": sorted(self.values.items())}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each setting that differs or is not stated."""
        found = claims.get("vm", MISSING)
        vm = found if isinstance(found, Mapping) else {}
        return [
            AppraisalError(
                f"vm.{name}", expected=wanted, actual=vm.get(name, MISSING), code="azure.vm"
            )
            for name, wanted in sorted(self.values.items())
            if type(vm.get(name)) is not type(wanted) or vm.get(name) != wanted
        ]
