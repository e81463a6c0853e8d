"""Ask ``/dev/sev-guest`` for a report: for kernels that have no configfs-tsm.

Structures and numbers of Linux ``include/uapi/linux/sev-guest.h``; the response is AMD's
MSG_REPORT_RSP: status, report size, 24 reserved bytes, report (SEV-SNP ABI table 25).

Source: attestation.md section 5.3.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Callable
from typing import Any, Final

from confide.attest.binding import REPORT_DATA_LENGTH
from confide.errors import EvidenceError

__all__ = [
    "CERTIFICATES_LENGTH",
    "DEVICE",
    "GET_EXT_REPORT",
    "GET_REPORT",
    "ExtReportRequest",
    "GuestDevice",
    "GuestRequest",
    "ReportRequest",
    "ReportResponse",
]

DEVICE: Final = "/dev/sev-guest"
GET_REPORT: Final = 0xC0205300  # _IOWR('S', 0, 32 bytes)
GET_EXT_REPORT: Final = 0xC0205302
CERTIFICATES_LENGTH: Final = 16 * 1024  # SEV_FW_BLOB_MAX_SIZE: the most the kernel takes

_MESSAGE_VERSION: Final = 1
_VMM_INVALID_LENGTH: Final = 1  # SNP_GUEST_VMM_ERR_INVALID_LEN
_VMM_BUSY: Final = 2  # SNP_GUEST_VMM_ERR_BUSY
_AGAIN: Final = frozenset({errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})
_HEADER: Final = 32
_REPORT_LENGTH: Final = 1184
_ATTEMPTS: Final = 5
_PAUSE_S: Final = 0.2


class ReportRequest(ctypes.Structure):
    """``struct snp_report_req``, 96 bytes."""

    _fields_ = (
        ("user_data", ctypes.c_uint8 * 64),
        ("vmpl", ctypes.c_uint32),
        ("rsvd", ctypes.c_uint8 * 28),
    )


class ReportResponse(ctypes.Structure):
    """``struct snp_report_resp``, 4000 bytes."""

    _fields_ = (("data", ctypes.c_uint8 * 4000),)


class ExtReportRequest(ctypes.Structure):
    """``struct snp_ext_report_req``, 112 bytes."""

    _fields_ = (
        ("data", ReportRequest),
        ("certs_address", ctypes.c_uint64),
        ("certs_len", ctypes.c_uint32),
    )


class GuestRequest(ctypes.Structure):
    """``struct snp_guest_request_ioctl``, 32 bytes."""

    _fields_ = (
        ("msg_version", ctypes.c_uint8),
        ("req_data", ctypes.c_uint64),
        ("resp_data", ctypes.c_uint64),
        ("fw_error", ctypes.c_uint32),
        ("vmm_error", ctypes.c_uint32),
    )


class GuestDevice:
    """Makes requests through the device node. Not safe for concurrent use.

    Args:
        path: The device node.
        vmpl: VMPL the report shall name, 0 to 3; at least the guest's own.
        ioctl: The system call.
        pause: Waits that many seconds between attempts.
    """

    def __init__(
        self,
        path: str = DEVICE,
        *,
        vmpl: int = 0,
        ioctl: Callable[..., Any] = fcntl.ioctl,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._vmpl = vmpl
        self._ioctl = ioctl
        self._pause = pause

    @property
    def present(self) -> bool:
        """Whether the device node is there."""
        return os.path.exists(self._path)

    def report(self, report_data: bytes) -> tuple[bytes, bytes]:
        """Obtain a report and the host's certificate table.

        Args:
            report_data: 64 bytes.

        Returns:
            The report, 1184 bytes, and the table, at most 16 KiB; empty if it is longer.

        Raises:
            EvidenceError: tsm.no_provider, tsm.permission, tsm.outblob or
                tsm.retries_exhausted.
            ValueError: `report_data` is not 64 bytes.
        """
        if len(report_data) != REPORT_DATA_LENGTH:
            raise ValueError(f"report_data must be 64 bytes, not {len(report_data)}")
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _unusable(error, self._path) from error
        try:
            return self._ask(descriptor, report_data)
        finally:
            os.close(descriptor)

    def _ask(self, descriptor: int, report_data: bytes) -> tuple[bytes, bytes]:
        table = (ctypes.c_uint8 * CERTIFICATES_LENGTH)()
        plain = ReportRequest(vmpl=self._vmpl)
        plain.user_data[:] = report_data
        extended = ExtReportRequest(
            data=plain, certs_address=ctypes.addressof(table), certs_len=len(table)
        )
        response = ReportResponse()
        if self._call(descriptor, GET_EXT_REPORT, extended, response):
            return _report(response), bytes(table)
        # The table does not fit: the client finds certificates elsewhere.
        self._call(descriptor, GET_REPORT, plain, response)
        return _report(response), b""

    def _call(
        self,
        descriptor: int,
        number: int,
        request: ctypes.Structure,
        response: ReportResponse,
    ) -> bool:
        """Make one request; False if the host's table is longer than 16 KiB."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(_PAUSE_S * 2 ** (attempt - 1))
            envelope = GuestRequest(
                msg_version=_MESSAGE_VERSION,
                req_data=ctypes.addressof(request),
                resp_data=ctypes.addressof(response),
            )
            refusal: OSError | None = None
            try:
                self._ioctl(descriptor, number, envelope, True)
            except OSError as error:
                refusal = error
            vmm_error = envelope.vmm_error
            if refusal is None and not vmm_error and not envelope.fw_error:
                return True
            if vmm_error == _VMM_INVALID_LENGTH and number == GET_EXT_REPORT:
                return False
            busy = refusal is not None and refusal.errno in _AGAIN
            if not busy and vmm_error != _VMM_BUSY:
                raise _refused(refusal, envelope)
        raise EvidenceError(
            f"the security processor was busy {_ATTEMPTS} times", code="tsm.retries_exhausted"
        )


def _report(response: ReportResponse) -> bytes:
    raw = bytes(response.data)
    status = int.from_bytes(raw[0:4], "little")
    length = int.from_bytes(raw[4:8], "little")
    if status or length != _REPORT_LENGTH:
        raise EvidenceError(
            f"status {status} and a report of {length} bytes; 0 and {_REPORT_LENGTH} were expected",
            code="tsm.outblob",
        )
    return raw[_HEADER : _HEADER + length]


def _refused(refusal: OSError | None, envelope: GuestRequest) -> EvidenceError:
    if refusal is not None and refusal.errno == errno.ENOTTY:
        return EvidenceError(
            "the guest's key to the security processor is disabled until the machine restarts",
            code="tsm.outblob",
            hint="restart the virtual machine",
        )
    number = None if refusal is None else refusal.errno
    name = "no error" if number is None else errno.errorcode.get(number, str(number))
    return EvidenceError(
        f"the security processor refused: {name}, firmware {envelope.fw_error:#x}, "
        f"host {envelope.vmm_error:#x}",
        code="tsm.outblob",
    )


def _unusable(error: OSError, path: str) -> EvidenceError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return EvidenceError(
            f"this user may not open {path}",
            code="tsm.permission",
            hint=f"give the group of the enclave access to {path} at boot",
        )
    return EvidenceError(
        f"cannot open {path}: {error.strerror}",
        code="tsm.no_provider",
        hint="confide doctor shows what this machine has",
    )
