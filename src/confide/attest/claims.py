"""What a processor said about an enclave, once its signature was checked.

Claims are facts without a judgement; `confide.attest.policy` judges. Names that every
platform uses are listed here, so that one policy language fits all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from confide.attest.evidence import EvidenceKind

__all__ = [
    "DEBUGGABLE",
    "DOCUMENT",
    "GPUS",
    "MANIFEST",
    "MEASUREMENT",
    "MISSING",
    "PLATFORM",
    "PRODUCT",
    "TCB",
    "Claims",
]

PLATFORM: Final = "platform"
"""Text such as "sev-snp"."""
PRODUCT: Final = "product"
"""Text such as "Genoa"."""
MEASUREMENT: Final = "measurement"
"""Bytes: digest of what was launched."""
DEBUGGABLE: Final = "debuggable"
"""Bool: the host may read the enclave's memory."""
TCB: Final = "tcb"
"""Mapping of component name to security version."""
GPUS: Final = "gpus"
"""Tuple of mappings, one per GPU: "device", "confidential", "developer_tools", ..."""
DOCUMENT: Final = "document_sha256"
"""32 bytes: the key document the report data commits to."""
MANIFEST: Final = "manifest_sha256"
"""32 bytes: the release-and-model manifest the report data commits to."""

MISSING: Final = "missing"
"""What `Claims.get` returns for a claim that is not there; never equal to a real value."""


class Claims(Mapping[str, object]):
    """Claims by name. There is no default: ask with `get` and object to `MISSING`.

    Raises:
        ValueError: No platform is named, or the platform is a simulated one. Simulated
            evidence has no claims, so no policy can be satisfied by it.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        platform = values.get(PLATFORM)
        if not isinstance(platform, str) or not platform:
            raise ValueError("claims name their platform")
        if platform == EvidenceKind.SOFTWARE_DEV:
            raise ValueError("simulated evidence has no claims")
        self._values = dict(values)
        self.platform = platform

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Claims({self.platform}, {', '.join(sorted(self._values))})"
