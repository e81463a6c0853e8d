"""Import NVIDIA's reference integrity manifests (RIM): verify once, keep the hashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from confide.attest.platforms.nvidia.golden import GoldenSet

__all__ = ["MAX_RIM", "Rim", "golden_from", "import_rim"]

MAX_RIM = 1024 * 1024
"""Largest manifest, in bytes."""


@dataclass(frozen=True)
class Rim:
    """One manifest whose signature and chain hold.

    Attributes:
        product: Chip, such as "GH100" or "LS10".
        edition: "GPU" or "SWITCH".
        version: Of the driver ("550.90.07") or of the VBIOS ("96.00.9F.00.01").
        tag_id: The manifest's own identifier.
        sha256: SHA-256 of the XML as given, lower-case hex.
        valid_until: Earliest end of the certificates that signed it.
        measurements: Active resources only: accepted values (lower-case hex) by golden index.
    """

    product: str
    edition: str
    version: str
    tag_id: str
    sha256: str
    valid_until: datetime
    measurements: Mapping[int, tuple[str, ...]] = field(repr=False)

    @property
    def is_driver(self) -> bool:
        """Whether the version is a driver's; five groups of two hex digits are a VBIOS's."""
        raise NotImplementedError


def import_rim(xml: bytes, at: datetime) -> Rim:
    """Verify one manifest.

    Args:
        xml: SWID tag with an enveloped XML signature, at most 1 MiB, untrusted.
        at: When to verify: now, for a policy that is being written.

    Raises:
        EndorsementError: rim.root_element, .signature_count, .reference, .algorithm,
            .transform, .root_not_pinned, .chain_signature, .cert_expired, .digest,
            .signature, .duplicate_index or .version. No other `AttestationError`.
        ConfigError: The extra is not installed (`pip install 'confide[rim]'`).
    """
    raise NotImplementedError


def golden_from(driver_rim: Rim | None, vbios_rim: Rim) -> GoldenSet:
    """Join the manifests of a driver and of a VBIOS into the values of one pair.

    Args:
        driver_rim: The driver's; None for an NVSwitch, which has no driver of its own.
        vbios_rim: The VBIOS's, or the switch's BIOS.

    Raises:
        EndorsementError: nv.rim_index_conflict: both claim an index. rim.product: they are
            of different chips, or one stands in the other's place.
    """
    raise NotImplementedError
