"""Obtain an SEV-SNP report about this guest, with the certificates its host supplies.

configfs-tsm comes first. Kernels before 6.7 have only the ioctls of ``/dev/sev-guest``, so
that device is the fallback, and only where the kernel has no provider: one that is there and
refuses is a failure.

The certificate table comes from the host and is untrusted. It is copied into the envelope
for the client's convenience, who verifies every certificate in it.

Source: attestation.md sections 5.1 and 5.3; certificate table: GHCB specification.
"""

from __future__ import annotations

import hmac
import ssl
import struct
import uuid
from collections.abc import Mapping
from typing import Final

from confide.attest.collector import CollectedReport
from confide.attest.evidence import CpuReport
from confide.attest.platforms.snp.device import GuestDevice
from confide.attest.platforms.snp.report import SnpReport
from confide.attest.platforms.tsm import SEV_GUEST, TsmClient
from confide.errors import EvidenceError

__all__ = ["SnpCollector", "read_report_data", "read_table", "stapled"]

_ENTRY = struct.Struct("<16sII")  # GUID, offset, length
_MAX_ENTRIES = 16
_MAX_CERTIFICATE = 16 * 1024

_VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")
_VLEK = uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
_ASK = uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
_ARK = uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")


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
        return CollectedReport(report, collateral=stapled(read_table(table)))

    def report_data_of(self, cpu: CpuReport) -> bytes:
        """See `CpuCollector.report_data_of`."""
        return read_report_data(cpu.report)


def read_report_data(report: bytes) -> bytes:
    """Return REPORT_DATA (64 bytes) of a report, read as a client reads it.

    Raises:
        EvidenceError: A code of the group snp: no client would take it.
    """
    return SnpReport.parse(report).report_data


def read_table(table: bytes) -> Mapping[uuid.UUID, bytes]:
    """Read the host's certificate table; what is malformed in it is left out.

    A host that supplies nonsense must not be able to stop the enclave by it: without the
    certificates a client looks for them elsewhere.

    Args:
        table: Entries of GUID, u32 offset and u32 length, ended by a zero entry.

    Returns:
        Contents by GUID, each at most 16 KiB.
    """
    found: dict[uuid.UUID, bytes] = {}
    for number in range(_MAX_ENTRIES):
        entry = table[number * _ENTRY.size : (number + 1) * _ENTRY.size]
        if len(entry) < _ENTRY.size or not any(entry):
            break
        guid, offset, length = _ENTRY.unpack(entry)
        if 0 < length <= _MAX_CERTIFICATE and offset + length <= len(table):
            found.setdefault(uuid.UUID(bytes_le=guid), table[offset : offset + length])
    return found


def stapled(entries: Mapping[uuid.UUID, bytes]) -> Mapping[str, Mapping[str, tuple[bytes, ...]]]:
    """Arrange certificates as the envelope's `collateral`: `snp/vek` and `snp/chain`."""
    keys = tuple(entries[guid] for guid in (_VCEK, _VLEK) if guid in entries)
    snp = {"vek": keys} if keys else {}
    if _ASK in entries and _ARK in entries:
        snp["chain"] = (_pem(entries[_ASK]) + _pem(entries[_ARK]),)
    return {"snp": snp} if snp else {}


def _pem(certificate: bytes) -> bytes:
    if certificate.startswith(b"-----BEGIN"):
        return certificate.rstrip(b"\n\0") + b"\n"
    return ssl.DER_cert_to_PEM_cert(certificate).encode("ascii")
