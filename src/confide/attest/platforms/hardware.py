"""Evidence of one enclave: what its processor and its GPUs say, in one envelope.

    1. Ask the driver whether every GPU is confidential, and collect the GPUs' reports.
    2. Verify them here: what is not genuine is not vouched for.
    3. Let the GPUs take work.
    4. Ask the processor for a report that covers keys, nonce, manifest and GPU reports.
    5. Read the finished envelope back and compare every part.

Whatever fails raises, and an enclave that cannot collect does not open its port.

Source: attestation.md sections 6.1 and 6.2; protocol.md section 3.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, cast

from confide.attest.binding import gpu_digest, gpu_nonce, report_data
from confide.attest.collector import CollectedReport, CpuCollector, GpuCollector
from confide.attest.endorsements import StapledEndorsements
from confide.attest.evidence import MAX_ENVELOPE, CpuReport, Evidence, EvidenceKind, GpuReport
from confide.attest.factors import FACTORS, FactorSheet
from confide.attest.platform import EvidenceVerifier
from confide.errors import BindingError, ConfigError, EvidenceError
from confide.wire.strict_json import b64url

__all__ = ["COLLECTORS", "HardwareCollector", "hardware_collector"]

COLLECTORS: Final[Mapping[str, str]] = {
    "sev-snp": "confide.attest.platforms.snp.collect:SnpCollector",
    "tdx": "confide.attest.platforms.tdx.collect:TdxCollector",
    "azure-sev-snp": "confide.attest.platforms.azure.collect:AzureSnpCollector",
    "azure-tdx": "confide.attest.platforms.azure.collect:AzureTdxCollector",
}
"""Platforms this version collects on, as "module:class". Imported when they are named."""


class HardwareCollector:
    """A `Collector` for one processor and its GPUs.

    Args:
        cpu: Obtains the processor's report.
        gpus: Obtains the GPUs' reports; None for an enclave without GPUs.
        gpu_verifier: Verifies each of them before it is published. Required with `gpus`.
    """

    simulated: Final = False

    def __init__(
        self,
        cpu: CpuCollector,
        *,
        gpus: GpuCollector | None = None,
        gpu_verifier: EvidenceVerifier | None = None,
    ) -> None:
        if gpus is not None and gpu_verifier is None:
            raise ValueError("GPU reports are verified before they are published")
        self._cpu = cpu
        self._gpus = gpus
        self._gpu_verifier = gpu_verifier
        self._accepted = False

    @property
    def platform(self) -> str:
        """Type of the processor, such as "sev-snp"."""
        return self._cpu.type

    @property
    def gpu_statement(self) -> Mapping[str, object] | None:
        """What the manifest has to say of the GPUs, or None without."""
        return None if self._gpus is None else self._gpus.statement

    def collect(
        self, *, document: bytes, client_nonce: bytes, manifest_sha256: bytes, now: float
    ) -> bytes:
        """Collect from every processor. See `Collector.collect`.

        Raises:
            AttestationError: A processor gave no report, a GPU is not genuine or not as
                stated, or the envelope does not read back.
            ValueError: A length is wrong.
        """
        document_sha256 = hashlib.sha256(document).digest()
        gpus = self._collect_gpus(gpu_nonce(document_sha256, client_nonce), now)
        bound = report_data(
            document_sha256,
            client_nonce,
            gpu_digest([gpu.report for gpu in gpus]),
            manifest_sha256,
        )
        made = self._cpu.report(bound)
        evidence = Evidence(
            kind=EvidenceKind.HARDWARE,
            document=document,
            client_nonce=client_nonce,
            manifest_sha256=manifest_sha256,
            collected_at=int(now),
            cpu=CpuReport(self._cpu.type, made.report, dict(made.aux)),
            gpus=gpus,
            collateral=_stapled(made),
        )
        raw = evidence.encode()
        self._read_back(raw, evidence, bound)
        return raw

    def _collect_gpus(self, nonce: bytes, now: float) -> tuple[GpuReport, ...]:
        if self._gpus is None or self._gpu_verifier is None:
            return ()
        found = self._gpus.reports(nonce)
        at = datetime.fromtimestamp(now, UTC)
        for gpu in found:
            genuine = self._gpu_verifier.authenticate(
                gpu.report,
                aux={"chain": gpu.chain.encode("ascii", "replace")},
                # Revocation is the client's to check: an enclave has no network of its own.
                endorsements=StapledEndorsements({}),
                sheet=FactorSheet((*FACTORS, *self._gpu_verifier.factors)),
                at=at,
            )
            if not hmac.compare_digest(genuine.report_data, nonce):
                raise BindingError("a GPU answered another nonce", code="binding.gpu_nonce")
        if not self._accepted:
            self._gpus.accept()
            self._accepted = True
        return found

    def _read_back(self, raw: bytes, evidence: Evidence, bound: bytes) -> None:
        """Refuse an envelope that a client would refuse or read differently."""
        parsed = Evidence.parse(raw)
        if parsed.cpu is None or parsed != evidence:
            raise EvidenceError("the envelope does not read back as it was written")
        if not hmac.compare_digest(self._cpu.report_data_of(parsed.cpu), bound):
            raise BindingError("the report is about other data than was asked for")
        if len(raw) > MAX_ENVELOPE:
            raise EvidenceError(f"the envelope has {len(raw)} bytes", code="envelope.size")


def hardware_collector(platform: str, *, gpus: int = 0, gpu_mode: str = "SPT") -> HardwareCollector:
    """Make the collector of a platform of this version, with its GPUs.

    Args:
        platform: One of `COLLECTORS`.
        gpus: How many NVIDIA GPUs the enclave has.
        gpu_mode: "SPT" or "MPT"; see `NvidiaCollector`.

    Raises:
        ConfigError: No such platform.
    """
    if platform not in COLLECTORS:
        raise ConfigError(
            f"this version collects on no platform {platform!r}; it knows {', '.join(COLLECTORS)}"
        )
    module, _, kind = COLLECTORS[platform].partition(":")
    cpu = cast("CpuCollector", getattr(importlib.import_module(module), kind)())
    if not gpus:
        return HardwareCollector(cpu)
    from confide.attest.platforms.nvidia.collect import NvidiaCollector
    from confide.attest.platforms.nvidia.verify import NvidiaVerifier

    return HardwareCollector(
        cpu, gpus=NvidiaCollector(gpus, mode=gpu_mode), gpu_verifier=NvidiaVerifier()
    )


def _stapled(made: CollectedReport) -> Mapping[str, object]:
    return {
        group: {name: [b64url(one) for one in candidates] for name, candidates in parts.items()}
        for group, parts in made.collateral.items()
    }
