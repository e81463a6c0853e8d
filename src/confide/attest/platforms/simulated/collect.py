"""INSECURE. Produce simulated evidence: a signature of a program, nothing else."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.attest.evidence import Evidence, EvidenceKind, SimulatedSignature
from confide.attest.platforms.simulated.signature import signed_bytes

__all__ = ["SimulatedCollector"]


class SimulatedCollector:
    """INSECURE. A `Collector` without a processor behind it."""

    platform = "software-dev"
    simulated = True

    def __init__(self, root_private_key: Ed25519PrivateKey) -> None:
        self._root = root_private_key

    def collect(
        self, *, document: bytes, client_nonce: bytes, manifest_sha256: bytes, now: float
    ) -> bytes:
        """Sign for whatever document is given. See `Collector.collect`."""
        message = signed_bytes(hashlib.sha256(document).digest(), client_nonce, manifest_sha256)
        return Evidence(
            kind=EvidenceKind.SOFTWARE_DEV,
            document=document,
            client_nonce=client_nonce,
            manifest_sha256=manifest_sha256,
            collected_at=int(now),
            simulated=SimulatedSignature(
                public_key=self._root.public_key().public_bytes_raw(),
                signature=self._root.sign(message),
            ),
        ).encode()
