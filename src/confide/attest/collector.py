"""The other end: how an enclave obtains evidence about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from confide.attest.evidence import CpuReport, GpuReport

__all__ = ["CollectedReport", "Collector", "CpuCollector", "GpuCollector"]


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


@dataclass(frozen=True)
class CollectedReport:
    """What one processor gave, and what its host added.

    Attributes:
        report: The report as the processor gave it.
        aux: Further parts by name, as in `CpuReport`.
        collateral: Vendor-signed data by group and part, as in `StapledEndorsements`; each
            part one piece or several candidates. Untrusted.
    """

    report: bytes = field(repr=False)
    aux: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    collateral: Mapping[str, Mapping[str, tuple[bytes, ...]]] = field(
        default_factory=dict, repr=False
    )


class CpuCollector(Protocol):
    """Obtains the report of the processor this enclave runs on."""

    @property
    def type(self) -> str:
        """The envelope's `type`, such as "sev-snp"."""
        ...

    def report(self, report_data: bytes) -> CollectedReport:
        """Obtain a report about `report_data`, and find it in there again.

        Args:
            report_data: 64 bytes.

        Raises:
            EvidenceError: The machine gave no such report.
            ValueError: The length is wrong.
        """
        ...

    def report_data_of(self, cpu: CpuReport) -> bytes:
        """Find the 64 bytes in a report that is about to be published.

        Raises:
            EvidenceError: They cannot be found.
        """
        ...


class GpuCollector(Protocol):
    """Obtains the reports of every GPU of this enclave."""

    @property
    def statement(self) -> Mapping[str, object]:
        """What the manifest says of the GPUs; `reports` refuses when it is not so."""
        ...

    def reports(self, nonce: bytes) -> tuple[GpuReport, ...]:
        """Check the state of every GPU, then obtain its report.

        Args:
            nonce: 32 bytes, `binding.gpu_nonce`.

        Raises:
            EvidenceError: A GPU is missing, gave no report, or is not as stated.
            ValueError: The length is wrong.
        """
        ...

    def accept(self) -> None:
        """Let the GPUs take work: their reports were verified.

        Raises:
            EvidenceError: The driver refused.
        """
        ...
