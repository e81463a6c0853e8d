"""The other end: how an enclave obtains evidence about itself."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Collector"]


class Collector(Protocol):
    """Asks the machine for evidence. One implementation per platform."""

    @property
    def platform(self) -> str:
        """Such as "sev-snp", or "software-dev"."""
        ...

    @property
    def simulated(self) -> bool:
        """True if no processor stands behind it."""
        ...

    def collect(
        self, *, document: bytes, client_nonce: bytes, manifest_sha256: bytes, now: float
    ) -> bytes:
        """Produce an evidence envelope.

        Args:
            document: The key document exactly as served.
            client_nonce: 32 bytes of the client, or empty for the cached form.
            manifest_sha256: SHA-256 of the release-and-model manifest, 32 bytes.
            now: Unix seconds, written into the envelope as advice.

        Returns:
            At most 512 KiB (`Evidence.encode`).

        Raises:
            EvidenceError: The machine gave no evidence.
            ValueError: A length is wrong.
        """
        ...
