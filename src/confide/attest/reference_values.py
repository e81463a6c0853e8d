"""Reference values: what an accepted workload looks like (RFC 9334 section 8.3).

They come from a policy file (`workloads`) or from a signed release (`releases.manifest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from confide.attest.evidence import EvidenceKind
from confide.attest.results import to_unix
from confide.errors import ConfigError

__all__ = ["MEASUREMENT_LENGTHS", "ReferenceValue", "ReferenceValues"]

MEASUREMENT_LENGTHS = (32, 48, 64, 240)
"""240: MRTD and RTMR0 to RTMR3 of a TD, 48 bytes each."""


@dataclass(frozen=True)
class ReferenceValue:
    """One accepted workload on one platform.

    Attributes:
        name: For people.
        platform: Such as "sev-snp".
        measurement: 32, 48 or 64 bytes: digest of what is launched; 240 for a TD's five.
        manifest_sha256: 32 bytes: digest of the release-and-model manifest.
        product: Processor the measurement is for, such as "Genoa"; None if it holds on all.
    """

    name: str
    platform: str
    measurement: bytes
    manifest_sha256: bytes
    product: str | None = None

    def __post_init__(self) -> None:
        if self.platform == EvidenceKind.SOFTWARE_DEV or not self.platform:
            raise ConfigError("a reference value names a hardware platform")
        if len(self.measurement) not in MEASUREMENT_LENGTHS:
            raise ConfigError(f"measurement of {self.name!r} is not 32, 48, 64 or 240 bytes")
        if len(self.manifest_sha256) != 32:
            raise ConfigError(f"manifest_sha256 of {self.name!r} is not 32 bytes")


@dataclass(frozen=True)
class ReferenceValues:
    """Accepted workloads, any one of which must match completely.

    Attributes:
        name: Of the release or policy they come from.
        not_after: They accept nothing at or after this instant.
        values: At least one.
    """

    name: str
    not_after: datetime
    values: tuple[ReferenceValue, ...] = field(repr=False)

    def __post_init__(self) -> None:
        to_unix(self.not_after)
        if not self.values:
            raise ConfigError("no reference values: an absent expectation is a refusal")
