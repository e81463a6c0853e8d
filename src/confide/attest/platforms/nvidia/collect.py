"""Collect the reports of this enclave's GPUs, after the driver said what no report says.

A GPU's report proves neither that confidential computing is on nor which machine uses it.
So the measured enclave asks the driver first and refuses to go on unless confidential
computing is on, DevTools are off and the environment is production. It states this in its
manifest, which the processor's report covers, and commits to the GPUs' reports there too.

NVSwitches answer another library; a machine whose GPUs need them (protected PCIe) is refused.

Source: attestation.md sections 3.3, 5.5 and 6.1.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Final, cast

from confide.attest.evidence import GpuReport
from confide.attest.platforms.nvidia.nvml import NvmlWorker
from confide.errors import EvidenceError

__all__ = ["NONCE_LENGTH", "TYPE", "NvidiaCollector", "gpu_statement", "read_nonce"]

TYPE: Final = "nvidia-spdm"
NONCE_LENGTH: Final = 32

_MODES: Final = {0: "SPT", 1: "PPCIE", 2: "MPT"}  # NVML: none, protected PCIe, NVLE
_NONCE = slice(4, 4 + NONCE_LENGTH)  # of the request that starts the report
_MIN_REPORT: Final = 37 + 7
_MAX_REPORT: Final = 8192


def gpu_statement(count: int, mode: str = "SPT") -> Mapping[str, object]:
    """What an enclave with `count` GPUs says in its manifest, or does not start.

    Args:
        count: Number of GPUs, at least 1.
        mode: "SPT" (each GPU by itself) or "MPT" (several, encrypted NVLink).
    """
    return {
        "confidential": True,
        "developer_tools": False,
        "environment": "production",
        "count": count,
        "mode": mode,
    }


class NvidiaCollector:
    """A `GpuCollector` for NVIDIA. `HardwareCollector` verifies what it returns.

    Args:
        count: How many GPUs there must be, at least 1.
        mode: "SPT" or "MPT".
        worker: Talks to the driver.
    """

    type: Final = TYPE

    def __init__(
        self,
        count: int,
        *,
        mode: str = "SPT",
        worker: NvmlWorker | None = None,
    ) -> None:
        if count < 1 or mode not in ("SPT", "MPT"):
            raise ValueError(f"{count} GPUs in mode {mode} cannot be collected")
        self.statement = gpu_statement(count, mode)
        self._count = count
        self._mode = mode
        self._worker = worker or NvmlWorker()

    def check_state(self) -> None:
        """Ask the driver whether every GPU is as stated.

        Raises:
            EvidenceError: nv.count, nv.confidential, nv.developer_tools, nv.environment,
                nv.mode, nv.driver or nv.worker.
        """
        state = self._worker.ask({"ask": "state"})
        found = state.get("count")
        if found != self._count:
            raise EvidenceError(
                f"the driver shows {found} GPUs; the settings say {self._count}", code="nv.count"
            )
        _check_switches(state)
        settings = state.get("settings")
        if settings is None:
            # Drivers without this call know one mode only.
            mode: object = "SPT" if self._count == 1 else "unknown"
        else:
            # Two calls that must agree: neither may be the only one that is right.
            _check_switches(cast("Mapping[str, object]", settings))
            mode = _MODES.get(cast("dict[str, int]", settings).get("multi_gpu", -1), "unknown")
        if mode != self._mode:
            raise EvidenceError(
                f"the GPUs are in mode {mode}; the settings say {self._mode}", code="nv.mode"
            )
        protected = state.get("protected")
        if not isinstance(protected, list) or not all(protected) or len(protected) != self._count:
            raise EvidenceError("a GPU has no protected memory", code="nv.confidential")

    def reports(self, nonce: bytes) -> tuple[GpuReport, ...]:
        """Check the state, then collect and check every report. See `GpuCollector.reports`.

        Raises:
            EvidenceError: As `check_state`, or nv.nonce_mismatch, nv.truncated or
                nv.duplicate_device.
            ValueError: `nonce` is not 32 bytes.
        """
        if len(nonce) != NONCE_LENGTH:
            raise ValueError(f"the nonce must be {NONCE_LENGTH} bytes, not {len(nonce)}")
        self.check_state()
        answer = self._worker.ask({"ask": "reports", "nonce": nonce.hex()})
        listed = answer.get("reports")
        if not isinstance(listed, list) or len(listed) != self._count:
            raise EvidenceError(f"{self._count} reports were expected", code="nv.count")
        found = tuple(_read(entry) for entry in listed)
        if len({gpu.chain for gpu in found}) != len(found):
            raise EvidenceError("two reports are of one device", code="nv.duplicate_device")
        for gpu in found:
            if not hmac.compare_digest(read_nonce(gpu.report), nonce):
                raise EvidenceError("a GPU answered another nonce", code="nv.nonce_mismatch")
        return found

    def accept(self) -> None:
        """Set the driver's ready state, which lets programs use the GPUs.

        Raises:
            EvidenceError: nv.driver or nv.worker.
        """
        if self._worker.ask({"ask": "accept"}).get("ready") != 1:
            raise EvidenceError("the driver did not set the GPUs ready", code="nv.driver")


def read_nonce(report: bytes) -> bytes:
    """Return the nonce (32 bytes) of the request that a report starts with.

    Raises:
        EvidenceError: nv.truncated or nv.request_header.
    """
    if not _MIN_REPORT <= len(report) <= _MAX_REPORT:
        raise EvidenceError(f"a GPU report of {len(report)} bytes", code="nv.truncated")
    if report[:2] != b"\x11\xe0":
        raise EvidenceError("not an SPDM 1.1 GET_MEASUREMENTS request", code="nv.request_header")
    return report[_NONCE]


def _check_switches(state: Mapping[str, object]) -> None:
    if state.get("cc") != 1:
        raise EvidenceError(
            "confidential computing is off on the GPUs",
            code="nv.confidential",
            hint="the host turns it on, with NVIDIA's gpu_cc_mode.py --set-cc-mode=on",
        )
    if state.get("dev_tools") != 0:
        raise EvidenceError(
            "DevTools are on: the host can read the GPUs' memory",
            code="nv.developer_tools",
            hint="the host sets the mode with NVIDIA's gpu_cc_mode.py --set-cc-mode=on",
        )
    if state.get("environment") != 2:
        raise EvidenceError("the GPUs are not in production environment", code="nv.environment")


def _read(entry: object) -> GpuReport:
    try:
        members = cast("dict[str, str]", entry)
        report = base64.b64decode(members["report"], validate=True)
        return GpuReport(TYPE, report, str(members["chain"]))
    except (KeyError, TypeError, binascii.Error) as error:
        raise EvidenceError("the worker's answer is malformed", code="nv.worker") from error
