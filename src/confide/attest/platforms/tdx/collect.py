"""Obtain a TDX quote about this guest, with the firmware's event log.

The kernel hands the TDREPORT to the host's quoting enclave, which takes up to seconds;
`TsmClient` repeats what the kernel gave up waiting for. There is no fallback to
``/dev/tdx_guest``: it gives a TDREPORT, which nobody outside this machine can verify.

The event log explains RTMR0 to RTMR3 and proves nothing by itself; the client replays it.

Source: attestation.md sections 3.2, 5.1 and 5.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from confide.attest.binding import REPORT_DATA_LENGTH
from confide.attest.collector import CollectedReport
from confide.attest.evidence import CpuReport
from confide.attest.platforms.tsm import TDX_GUEST, TsmClient
from confide.errors import EvidenceError

__all__ = ["EVENT_LOG", "MAX_QUOTE", "TdxCollector", "read_report_data", "without_padding"]

EVENT_LOG: Final = Path("/sys/firmware/acpi/tables/data/CCEL")
MAX_QUOTE: Final = 16 * 1024
"""Longest quote a client takes, in bytes."""

_MAX_EVENT_LOG = 256 * 1024
_TEE_TDX = 0x81
_HEADER_LENGTH = 48
_REPORT_DATA_AT = 520  # from the start of the body
_V5_BODIES = {2: 584, 3: 648}


class TdxCollector:
    """A `CpuCollector` for Intel TDX.

    Args:
        tsm: Talks to configfs-tsm.
        event_log: Where the kernel shows the firmware's log; it need not exist.
    """

    type: Final = "tdx"

    def __init__(self, tsm: TsmClient | None = None, *, event_log: Path = EVENT_LOG) -> None:
        self._tsm = tsm or TsmClient()
        self._event_log = event_log

    def report(self, report_data: bytes) -> CollectedReport:
        """Obtain a quote and the event log. See `CpuCollector.report`.

        Raises:
            EvidenceError: A code of the group tsm.
            ValueError: `report_data` is not 64 bytes.
        """
        made = self._tsm.report(report_data, provider=TDX_GUEST, read_back=read_report_data)
        log = _read_log(self._event_log)
        return CollectedReport(without_padding(made.report), aux={"eventlog": log} if log else {})

    def report_data_of(self, cpu: CpuReport) -> bytes:
        """See `CpuCollector.report_data_of`."""
        return read_report_data(cpu.report)


def read_report_data(quote: bytes) -> bytes:
    """Return REPORTDATA (64 bytes) of a quote of version 4 or 5.

    Raises:
        EvidenceError: tsm.outblob; not a TDX quote of a layout known here.
    """
    start = _body_start(quote) + _REPORT_DATA_AT
    return quote[start : start + REPORT_DATA_LENGTH]


def without_padding(quote: bytes) -> bytes:
    """Cut off what follows the signature: platforms pad quotes to 5006 or 8000 bytes.

    Nothing signs the padding, and a client that hashes quotes must not see two for one.

    Raises:
        EvidenceError: tsm.outblob; shorter than it says, or longer than a client takes.
    """
    end = _body_start(quote) + _body_length(quote)
    signature_length = int.from_bytes(quote[end : end + 4], "little")
    whole = end + 4 + signature_length
    if not signature_length or whole > min(len(quote), MAX_QUOTE):
        raise EvidenceError(
            f"the quote says it has {whole} bytes; {len(quote)} came, at most {MAX_QUOTE} are used",
            code="tsm.outblob",
        )
    return quote[:whole]


def _body_start(quote: bytes) -> int:
    version = int.from_bytes(quote[0:2], "little")
    tee = int.from_bytes(quote[4:8], "little")
    start = _HEADER_LENGTH + (6 if version == 5 else 0)
    if version not in (4, 5) or tee != _TEE_TDX or len(quote) < start + 584 + 4:
        raise EvidenceError(
            f"{len(quote)} bytes, version {version}, TEE type {tee:#x}: not a TDX quote",
            code="tsm.outblob",
        )
    return start


def _body_length(quote: bytes) -> int:
    if int.from_bytes(quote[0:2], "little") == 4:
        return 584
    kind = int.from_bytes(quote[48:50], "little")
    length = int.from_bytes(quote[50:54], "little")
    if _V5_BODIES.get(kind, length) != length or not 584 <= length <= 4096:
        raise EvidenceError(
            f"a body of type {kind} with {length} bytes is not known", code="tsm.outblob"
        )
    return length


def _read_log(path: Path) -> bytes:
    """Return the log, or nothing: it explains the quote and is not needed to trust it."""
    try:
        with path.open("rb") as stream:
            log = stream.read(_MAX_EVENT_LOG + 1)
    except OSError:
        return b""
    return log if len(log) <= _MAX_EVENT_LOG else b""
