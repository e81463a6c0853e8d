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

from confide.attest.collector import CollectedReport
from confide.attest.evidence import CpuReport
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tsm import TDX_GUEST, TsmClient

__all__ = ["EVENT_LOG", "TdxCollector", "read_report_data", "without_padding"]

EVENT_LOG: Final = Path("/sys/firmware/acpi/tables/data/CCEL")
_MAX_EVENT_LOG = 256 * 1024


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
            EvidenceError: A code of the group tsm or tdx.
            ValueError: `report_data` is not 64 bytes.
        """
        made = self._tsm.report(report_data, provider=TDX_GUEST, read_back=read_report_data)
        log = _read_log(self._event_log)
        return CollectedReport(without_padding(made.report), aux={"eventlog": log} if log else {})

    def report_data_of(self, cpu: CpuReport) -> bytes:
        """See `CpuCollector.report_data_of`."""
        return read_report_data(cpu.report)


def read_report_data(quote: bytes) -> bytes:
    """Return REPORTDATA (64 bytes) of a quote, read as a client reads it.

    Raises:
        EvidenceError: A code of the group tdx: no client would take it.
    """
    return Quote.parse(quote).report.report_data


def without_padding(quote: bytes) -> bytes:
    """Cut off what follows the signature: platforms pad quotes to 5006 or 8000 bytes.

    Nothing signs the padding, and a client that hashes quotes must not see two for one.

    Raises:
        EvidenceError: A code of the group tdx.
    """
    return quote[: len(quote) - Quote.parse(quote).trailing]


def _read_log(path: Path) -> bytes:
    """Return the log, or nothing: it explains the quote and is not needed to trust it."""
    try:
        with path.open("rb") as stream:
            log = stream.read(_MAX_EVENT_LOG + 1)
    except OSError:
        return b""
    return log if len(log) <= _MAX_EVENT_LOG else b""
