"""What a policy may demand of NVIDIA devices: which, how many, in which state.

Two sources are joined here. The device's report says what it is and what it measures. That
confidential mode is on and developer tools are off it does *not* say; the enclave read
that from the driver and states it in its manifest, which report_data binds to the
measured code that made the statement (spec/protocol.md section 6).

Claims of all devices are under "gpus", one mapping each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confide.attest.claims import GPUS, MISSING, Claims
from confide.attest.factors import FactorSpec, Owner
from confide.attest.platforms.nvidia.device import GPU, SWITCH, UNKNOWN_MODE
from confide.attest.platforms.nvidia.golden import GoldenSet
from confide.attest.platforms.nvidia.revocation import CRL, NONE, OCSP
from confide.attest.policy import Requirement
from confide.attest.requirements import Leaf
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "Architectures",
    "ConfidentialMode",
    "DeviceCount",
    "FirmwareNamed",
    "GoldenMeasurements",
    "IfAnyDevice",
    "Modes",
    "NotRevoked",
    "distinct_devices",
]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_MISSING_CODES: Final = {OCSP: "nv.ocsp_missing", CRL: "nv.crl_missing", NONE: "nv.crl_missing"}
_POLICY: Final = "confide policy check FILE"

Device = Mapping[str, object]


def _devices(claims: Claims) -> tuple[Device, ...]:
    found = claims.get(GPUS, ())
    return found if isinstance(found, tuple) else ()


def _of(devices: Sequence[Device], kind: str) -> list[Device]:
    return [device for device in devices if device.get("kind") == kind]


def _part(index: int, claim: str) -> str:
    """Name one claim of one device."""
    return f"{GPUS}.{index}.{claim}"


class _DeviceLeaf(Leaf):
    """Shared by demands about each device: they read `GPUS` and have one factor."""

    name: str
    claim: str

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`: the number of devices is decided by `DeviceCount`."""
        return frozenset()

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return frozenset({GPUS})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        claim = f"{GPUS}.{self.claim}"
        return (FactorSpec(self.name, Owner.OPERATOR, next_command=_ASK, claim=claim),)


@dataclass(frozen=True)
class DeviceCount(_DeviceLeaf):
    """Accepts exactly so many different GPUs and switches, and nothing else beside them.

    Devices are counted by the serial number burnt into each, so one that is listed twice
    counts once and is refused. With switches, every GPU must be connected to exactly those
    switches whose reports are there.

    Attributes:
        gpus: At least one.
        switches: NVSwitches; 0 unless the GPUs are behind them (protected PCIe).
    """

    gpus: int
    switches: int = 0

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.switches < 0:
            raise ConfigError("DeviceCount of no GPU: an absent expectation is a refusal")

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return frozenset({GPUS})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return tuple(
            FactorSpec(name, Owner.OPERATOR, next_command=_ASK, claim=f"{GPUS}.{claim}")
            for name, claim in (
                ("nvidia device count", "count"),
                ("nvidia devices distinct", "device"),
                ("nvidia switches connected", "pdis"),
            )
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"nvidia_devices": [self.gpus, self.switches]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to another number, to a device listed twice and to another topology."""
        devices = _devices(claims)
        found: list[AppraisalError] = []
        for kind, wanted in ((GPU, self.gpus), (SWITCH, self.switches)):
            actual = len(_of(devices, kind))
            if actual != wanted:
                found.append(
                    AppraisalError(
                        f"{GPUS}.count", expected=f"{wanted} of kind {kind}", actual=actual,
                        code="nv.count",
                    )
                )  # fmt: skip
        strangers = len(devices) - len(_of(devices, GPU)) - len(_of(devices, SWITCH))
        if strangers:
            found.append(
                AppraisalError(
                    f"{GPUS}.count", expected="GPUs and switches", actual=f"{strangers} others",
                    code="nv.count",
                )
            )  # fmt: skip
        return (
            found
            + _stated_count(devices, self.gpus)
            + distinct_devices(devices)
            + self._wired(devices)
        )

    def _wired(self, devices: Sequence[Device]) -> list[AppraisalError]:
        if not self.switches:
            return []
        switches = sorted(str(one) for device in _of(devices, SWITCH) for one in _pdis(device))
        return [
            AppraisalError(
                _part(index, "pdis"), expected=f"the {self.switches} switches that reported",
                actual=", ".join(map(str, _pdis(device))) or "none", code="nv.topology",
            )
            for index, device in enumerate(devices)
            if device.get("kind") == GPU and sorted(map(str, _pdis(device))) != switches
        ]  # fmt: skip


def _pdis(device: Device) -> tuple[object, ...]:
    found = device.get("pdis", ())
    return found if isinstance(found, tuple) else ()


def _stated_count(devices: Sequence[Device], wanted: int) -> list[AppraisalError]:
    """Object if the enclave itself speaks of another number of GPUs."""
    stated = {device.get("stated_count", wanted) for device in devices}
    return [
        AppraisalError(f"{GPUS}.count", expected=wanted, actual=f"{one} stated", code="nv.count")
        for one in stated
        if one != wanted
    ]


def distinct_devices(devices: Sequence[Device]) -> list[AppraisalError]:
    """Object unless every device has a serial number, and no two the same."""
    serials = [device.get("device", MISSING) for device in devices]
    known = {serial for serial in serials if serial != MISSING}
    if len(known) == len(serials):
        return []
    return [
        AppraisalError(
            f"{GPUS}.device", expected=f"{len(serials)} different devices", actual=len(known),
            code="nv.duplicate_device",
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class ConfidentialMode(_DeviceLeaf):
    """Accepts GPUs that the measured enclave found in confidential mode, for production."""

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return tuple(
            FactorSpec(name, Owner.OPERATOR, next_command=_ASK, claim=f"{GPUS}.{claim}")
            for name, claim in (
                ("nvidia confidential mode", "confidential"),
                ("nvidia developer tools off", "developer_tools"),
                ("nvidia production environment", "environment"),
            )
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return "nvidia_confidential_mode"

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each statement that is missing or another one. Switches state nothing."""
        wanted = (("confidential", True), ("developer_tools", False), ("environment", "production"))
        return [
            AppraisalError(
                _part(index, claim),
                expected=value,
                actual=device.get(claim, MISSING),
                code="nv.mode",
            )
            for index, device in enumerate(_devices(claims))
            if device.get("kind") != SWITCH
            for claim, value in wanted
            # The number 1 equals True; a statement is one only if it has the type as well.
            if (type(device.get(claim)), device.get(claim)) != (type(value), value)
        ]


@dataclass(frozen=True)
class Modes(_DeviceLeaf):
    """Accepts GPUs in one of these multi-GPU modes.

    The report's own word counts. Firmware that does not say (before driver 580) leaves it
    to the statement of the measured enclave; if both speak they must agree.

    Attributes:
        accepted: Of "SPT", "MPT" and "PPCIE"; at least one.
    """

    accepted: frozenset[str]
    name = "nvidia multi-gpu mode"
    claim = "mode"

    def __post_init__(self) -> None:
        if not self.accepted:
            raise ConfigError("Modes of nothing: an absent expectation is a refusal")

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"nvidia_modes": sorted(self.accepted)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each GPU in another mode, or in two at once."""
        found = []
        for index, device in enumerate(_devices(claims)):
            if device.get("kind") == SWITCH:
                continue
            modes = {device.get("mode", UNKNOWN_MODE), device.get("stated_mode", UNKNOWN_MODE)}
            modes.discard(UNKNOWN_MODE)
            actual = " and ".join(sorted(map(str, modes))) or UNKNOWN_MODE
            if actual not in self.accepted:
                expected = ", ".join(sorted(self.accepted))
                found.append(
                    AppraisalError(
                        _part(index, "mode"), expected=expected, actual=actual, code="nv.mode"
                    )
                )
        return found


@dataclass(frozen=True)
class Architectures(_DeviceLeaf):
    """Accepts GPUs of these architectures; switches follow from the GPUs.

    Attributes:
        accepted: Of "HOPPER" and "BLACKWELL"; at least one.
    """

    accepted: frozenset[str]
    name = "nvidia architecture"
    claim = "arch"

    def __post_init__(self) -> None:
        if not self.accepted:
            raise ConfigError("Architectures of nothing: an absent expectation is a refusal")

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"nvidia_architectures": sorted(self.accepted)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each GPU of another architecture."""
        expected = ", ".join(sorted(self.accepted))
        return [
            AppraisalError(
                _part(index, "arch"),
                expected=expected,
                actual=device.get("arch", MISSING),
                code="nv.arch",
            )
            for index, device in enumerate(_devices(claims))
            if device.get("kind") != SWITCH and device.get("arch", MISSING) not in self.accepted
        ]


@dataclass(frozen=True)
class FirmwareNamed(_DeviceLeaf):
    """Demands that each GPU's report names the firmware its certificate was issued for.

    A report that names other firmware is refused before any policy is asked. Old firmware
    (driver 535) and NVSwitches name none.
    """

    name = "nvidia firmware named"
    claim = "fwid"

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return "nvidia_firmware_named"

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each GPU whose firmware is not named on both sides."""
        return [
            AppraisalError(
                _part(index, "fwid"),
                expected="match",
                actual=device.get("fwid", MISSING),
                code="nv.fwid",
            )
            for index, device in enumerate(_devices(claims))
            if device.get("kind") != SWITCH and device.get("fwid", MISSING) != "match"
        ]


@dataclass(frozen=True)
class NotRevoked(_DeviceLeaf):
    """Demands fresh word of NVIDIA that no certificate of a device was withdrawn.

    Attributes:
        method: "ocsp": an answer for every certificate; "crl": lists, or answers; "none":
            nothing, which shows as a warning. A device that is *known* to be revoked is
            refused before any policy is asked.
    """

    method: str
    name = "nvidia revocation answered"
    claim = "revocation"

    def __post_init__(self) -> None:
        if self.method not in (OCSP, CRL, NONE):
            raise ConfigError(f"NotRevoked by {self.method!r}: ocsp, crl or none")

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """See `Requirement.factors`: with "none" the platform's own warning is all."""
        return () if self.method == NONE else super().factors(platform)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"nvidia_not_revoked": self.method}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each device about which less is known."""
        enough = {OCSP: {OCSP}, CRL: {OCSP, CRL}, NONE: {OCSP, CRL, NONE}}[self.method]
        missing = _MISSING_CODES[self.method]
        return [
            AppraisalError(
                _part(index, "revocation"), expected=f"not revoked, by {self.method.upper()}",
                actual=device.get("revocation", MISSING),
                code=str(device.get("revocation_problem") or missing),
            )
            for index, device in enumerate(_devices(claims))
            if device.get("revocation", MISSING) not in enough
        ]  # fmt: skip


@dataclass(frozen=True)
class GoldenMeasurements(_DeviceLeaf):
    """Accepts devices whose driver and VBIOS measure what NVIDIA says they must.

    Attributes:
        sets: One per pair of driver and VBIOS, or more; at least one.
    """

    sets: tuple[GoldenSet, ...]

    def __post_init__(self) -> None:
        if not self.sets:
            raise ConfigError("GoldenMeasurements of nothing: an absent expectation is a refusal")

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec(
                "nvidia driver and vbios known", Owner.YOU, next_command=_POLICY,
                claim=f"{GPUS}.vbios",
            ),
            FactorSpec(
                "nvidia golden measurements", Owner.OPERATOR, next_command=_ASK,
                claim=f"{GPUS}.measurements",
            ),
        )  # fmt: skip

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"nvidia_golden": [one.to_table() for one in self.sets]}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each device without reference values, and to each that differs."""
        return [
            objection
            for index, device in enumerate(_devices(claims))
            for objection in self.compare(index, device)
        ]

    def compare(self, index: int, device: Device) -> list[AppraisalError]:
        """Object unless one set of the device's driver and VBIOS matches completely.

        Args:
            index: Position of the device, for the message.
            device: Its claims.
        """
        driver, vbios = device.get("driver", MISSING), device.get("vbios", MISSING)
        known = [one for one in self.sets if (one.driver, one.vbios) == (driver, vbios)]
        if not known:
            return [
                AppraisalError(_part(index, "vbios"), expected="a listed pair of driver and VBIOS",
                    actual=f"{driver or 'no driver'} and {vbios}", code="nv.golden_missing",
                )
            ]  # fmt: skip
        measured = device.get("measurements")
        values = measured if isinstance(measured, Mapping) else {}
        differing = min((one.mismatches(values) for one in known), key=len)
        if not differing:
            return []
        return [
            AppraisalError(_part(index, "measurements"), expected=f"the values of VBIOS {vbios}",
                actual=f"different at {', '.join(map(str, differing))}",
                code="nv.measurement_mismatch",
            )
        ]  # fmt: skip


@dataclass(frozen=True)
class IfAnyDevice:
    """Accepts an enclave without GPUs, and one whose GPUs the inner demands accept.

    Attributes:
        inner: What is demanded of the devices, if there are any.
    """

    inner: Requirement

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return self.inner.decides()

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self.inner.looks_at()

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:
        """See `Requirement.factors`."""
        return self.inner.factors(platform)

    def not_after(self) -> datetime | None:
        """See `Requirement.not_after`."""
        return self.inner.not_after()

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"if_any_gpu": self.inner.describe()}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to nothing if there is no GPU, else as the inner demands do."""
        return self.inner.objections(claims) if _devices(claims) else []
