"""Obtain an SEV-SNP report about this guest, with the certificates its host supplies.

configfs-tsm comes first. Kernels before 6.7 have only the ioctls of ``/dev/sev-guest``, so
that device is the fallback, and only where the kernel has no provider: one that is there and
refuses is a failure.

The certificate table comes from the host and is untrusted. It is copied into the envelope
for the client's convenience, who verifies every certificate in it.

Source: attestation.md sections 5.1 and 5.3.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Mapping
from typing import Final

from confide.attest.collector import CollectedReport
from confide.attest.evidence import CpuReport
from confide.attest.platforms.snp.certificate_table import (
    ARK,
    ASK,
    CRL,
    VCEK,
    VLEK,
    parse_certificate_table,
)
from confide.attest.platforms.snp.device import GuestDevice
from confide.attest.platforms.snp.report import SnpReport
from confide.attest.platforms.tsm import SEV_GUEST, TsmClient
from confide.errors import EvidenceError

__all__ = ["SnpCollector", "read_report_data", "stapled"]


class SnpCollector:
    """A `CpuCollector` for AMD SEV-SNP.

    Args:
        tsm: Talks to configfs-tsm.
        device: Talks to the device of older kernels.
        privlevel: VMPL to ask for. Default: the lowest number the kernel allows.
    """

    type: Final = "sev-snp"

    def __init__(
        self,
        tsm: TsmClient | None = None,
        *,
        device: GuestDevice | None = None,
        privlevel: int | None = None,
    ) -> None:
        self._tsm = tsm or TsmClient()
        self._device = device or GuestDevice()
        self._privlevel = privlevel

    def report(self, report_data: bytes) -> CollectedReport:
        """Obtain a report with its certificate table. See `CpuCollector.report`.

        Raises:
            EvidenceError: A code of the group tsm.
            ValueError: `report_data` is not 64 bytes.
        """
        try:
            made = self._tsm.report(
                report_data,
                provider=SEV_GUEST,
                read_back=read_report_data,
                privlevel=self._privlevel,
            )
            report, table = made.report, made.aux
        except EvidenceError as error:
            if error.code != "tsm.no_provider" or not self._device.present:
                raise
            report, table = self._device.report(report_data)
            if not hmac.compare_digest(read_report_data(report), report_data):
                raise EvidenceError(
                    "the report is about other data than was asked for",
                    code="tsm.report_data_echo",
                ) from None
        return CollectedReport(report, collateral=stapled(table))

    def report_data_of(self, cpu: CpuReport) -> bytes:
        """See `CpuCollector.report_data_of`."""
        return read_report_data(cpu.report)


def read_report_data(report: bytes) -> bytes:
    """Return REPORT_DATA (64 bytes) of a report, read as a client reads it.

    Raises:
        EvidenceError: A code of the group snp: no client would take it.
    """
    return SnpReport.parse(report).report_data


def stapled(table: bytes) -> Mapping[str, Mapping[str, tuple[bytes, ...]]]:
    """Arrange the host's certificate table as the envelope's `collateral`.

    A host that supplies nonsense must not be able to stop the enclave by it: without the
    certificates a client looks for them elsewhere.

    Args:
        table: As the host gave it; empty if it gave none.

    Returns:
        `snp/vek`, `snp/chain` and `snp/crl`, as far as they are there.
    """
    try:
        entries = parse_certificate_table(table)
    except EvidenceError:
        return {}
    snp: dict[str, tuple[bytes, ...]] = {}
    if keys := tuple(entries[guid] for guid in (VCEK, VLEK) if entries.get(guid)):
        snp["vek"] = keys
    if entries.get(ASK) and entries.get(ARK):
        snp["chain"] = (_pem(entries[ASK]) + _pem(entries[ARK]),)
    if entries.get(CRL):
        snp["crl"] = (entries[CRL],)
    return {"snp": snp} if snp else {}


def _pem(certificate: bytes) -> bytes:
    if certificate.startswith(b"-----BEGIN"):
        return certificate.rstrip(b"\n\0") + b"\n"
    return ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")
