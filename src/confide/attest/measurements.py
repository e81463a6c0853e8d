"""The leaves that ask: is this a program we know, with the manifest that belongs to it?

A TD has five measurements; a refusal says which of them differ from the accepted workload
that comes closest, because each has another owner (the host's firmware, the operator's
machine shape, the image).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from confide.attest.claims import MANIFEST, MEASUREMENT, MISSING, PLATFORM, PRODUCT, Claims
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.attest.requirements import Leaf
from confide.attest.results import to_unix
from confide.errors import AppraisalError, ConfigError

__all__ = ["REGISTERS", "REGISTER_LENGTH", "ManifestIn", "MeasurementIn"]

REGISTERS: Final = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
"""What a TD's measurement is made of, in this order."""
REGISTER_LENGTH: Final = 48
"""Bytes of each register: SHA-384."""

_MEASUREMENT_CODES: Final = {"sev-snp": "snp.measurement", "tdx": "tdx.mr_td"}
_REGISTER_CODES: Final = {
    "mr_td": "tdx.mr_td",
    "rtmr0": "tdx.rtmr0",
    "rtmr1": "tdx.rtmr1",
    "rtmr2": "tdx.rtmr2",
    "rtmr3": "tdx.rtmr3",
}


def _hex(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _registers(measurement: bytes) -> tuple[bytes, ...]:
    return tuple(
        measurement[start : start + REGISTER_LENGTH]
        for start in range(0, len(measurement), REGISTER_LENGTH)
    )


@dataclass(frozen=True)
class MeasurementIn(Leaf):
    """Accepts a workload of the reference values: platform, measurement and manifest."""

    reference: ReferenceValues
    _claims = frozenset({MEASUREMENT, MANIFEST})

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        seen = self._claims | {PLATFORM}
        if any(value.product is not None for value in self.reference.values):
            seen |= {PRODUCT}
        if any(len(value.measurement) == _WHOLE for value in self.reference.values):
            seen |= set(REGISTERS)
        return seen

    def not_after(self) -> datetime | None:
        """Return the end of the reference values."""
        return self.reference.not_after

    def describe(self) -> object:
        """See `Requirement.describe`."""
        values = [
            [
                value.platform,
                value.product or "",
                value.measurement.hex(),
                value.manifest_sha256.hex(),
            ]
            for value in self.reference.values
        ]
        return {"measurement_in": sorted(values), "until": to_unix(self.reference.not_after)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless one reference value matches in every respect."""
        measurement = claims.get(MEASUREMENT, MISSING)
        manifest = claims.get(MANIFEST, MISSING)
        listed = [v for v in self.reference.values if v.platform == claims.platform]
        launched = [v for v in listed if v.measurement == measurement]
        if not launched:
            return self._unknown(claims.platform, measurement, listed)
        product = claims.get(PRODUCT, MISSING)
        known = [v for v in launched if v.product is None or v.product == product]
        if not known:
            made_for = sorted({str(value.product) for value in launched})
            return [
                AppraisalError(
                    MEASUREMENT,
                    expected=f"this measurement on {', '.join(made_for)}",
                    actual=f"the same on {product}",
                    code=_MEASUREMENT_CODES.get(claims.platform),
                )
            ]
        if not any(value.manifest_sha256 == manifest for value in known):
            name = self.reference.name
            return [
                AppraisalError(MANIFEST, expected=f"the manifest of {name}", actual=_hex(manifest))
            ]
        return []

    def _unknown(
        self, platform: str, measurement: object, listed: Sequence[ReferenceValue]
    ) -> list[AppraisalError]:
        """Say what differs from the closest reference value."""
        whole = [value for value in listed if len(value.measurement) == _WHOLE]
        if whole and isinstance(measurement, bytes) and len(measurement) == _WHOLE:
            return _differences(measurement, whole)
        return [
            AppraisalError(
                MEASUREMENT,
                expected=f"a workload of {self.reference.name} on {platform}",
                actual=_hex(measurement),
                code=_MEASUREMENT_CODES.get(platform),
            )
        ]


_WHOLE: Final = REGISTER_LENGTH * len(REGISTERS)


def _differences(measurement: bytes, listed: Sequence[ReferenceValue]) -> list[AppraisalError]:
    """List the registers that differ from the reference value that shares most of them."""
    actual = _registers(measurement)

    def shared(value: ReferenceValue) -> int:
        return sum(a == b for a, b in zip(actual, _registers(value.measurement), strict=True))

    closest = max(listed, key=shared)
    return [
        AppraisalError(
            f"{MEASUREMENT}.{name}",
            expected=f"{wanted.hex()} of {closest.name}",
            actual=found.hex(),
            code=_REGISTER_CODES[name],
        )
        for name, found, wanted in zip(
            REGISTERS, actual, _registers(closest.measurement), strict=True
        )
        if found != wanted
    ]


@dataclass(frozen=True)
class ManifestIn(Leaf):
    """Accepts the manifests of listed workloads, whatever was launched.

    For clouds where the launch measurement is the cloud's own and the workload is measured
    elsewhere, such as PCRs on Azure. It decides nothing about the measurement.

    Attributes:
        name: Of the policy, for messages.
        manifests: SHA-256 digests of 32 bytes; at least one.
    """

    name: str
    manifests: frozenset[bytes] = field(repr=False)
    _claims = frozenset({MANIFEST})

    def __post_init__(self) -> None:
        if not self.manifests:
            raise ConfigError("ManifestIn of nothing: an absent expectation is a refusal")

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"manifest_in": sorted(one.hex() for one in self.manifests)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to every manifest that is not listed."""
        manifest = claims.get(MANIFEST, MISSING)
        if manifest in self.manifests:
            return []
        return [
            AppraisalError(MANIFEST, expected=f"a manifest of {self.name}", actual=_hex(manifest))
        ]
