"""Reference values of one driver and VBIOS: what a genuine, unmodified device measures.

NVIDIA publishes them as signed manifests (RIMs) whose signer certificates live about two
years. They are therefore verified once, when a policy is written, and the policy carries
the hashes; whoever verifies a device compares hashes and reads no XML.

Golden index i is measurement block i + 1 of the report. Only active resources count; a
resource may list several alternatives.

Source: design of NVIDIA's reference integrity manifests, RIM information model (TCG).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from confide.errors import ConfigError

__all__ = ["HASH_LENGTH", "MAX_INDEX", "GoldenSet"]

HASH_LENGTH = 48
"""Bytes of one measurement: SHA-384."""

MAX_INDEX = 253
"""Largest golden index: measurement blocks are numbered 1 to 254 (DSP0274 table 54)."""


@dataclass(frozen=True)
class GoldenSet:
    """Reference values of one pair of driver and VBIOS.

    Attributes:
        driver: Driver version such as "550.90.07"; empty for an NVSwitch.
        vbios: Firmware version such as "96.00.9F.00.01", upper case.
        measurements: Accepted values (lower-case hex) by golden index; at least one of each.
        rim_sha256: SHA-256 of each manifest it was read from, lower-case hex. A record for
            people; nothing depends on it.
    """

    driver: str
    vbios: str
    measurements: Mapping[int, tuple[str, ...]] = field(repr=False)
    rim_sha256: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.measurements or not all(self.measurements.values()):
            raise ConfigError(
                f"no golden measurement for {self.vbios}: an absent expectation is a refusal",
                code="policy.invalid",
            )

    def mismatches(self, measured: Mapping[str, str]) -> tuple[int, ...]:
        """Return the golden indexes whose measurement is missing or is no listed value.

        Args:
            measured: Value (lower-case hex) by golden index, written as decimal text.
        """
        return tuple(
            index
            for index, accepted in sorted(self.measurements.items())
            if measured.get(str(index)) not in accepted
        )

    def to_table(self) -> dict[str, object]:
        """Return the plain values of one `[[nvidia.golden]]` table of a policy file."""
        return {
            "driver": self.driver,
            "vbios": self.vbios,
            "rim_sha256": list(self.rim_sha256),
            "measurements": {
                str(index): list(accepted) for index, accepted in sorted(self.measurements.items())
            },
        }
