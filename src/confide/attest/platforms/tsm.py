"""Ask the kernel for a report through configfs-tsm, the same way for SEV-SNP and TDX.

One directory below ``/sys/kernel/config/tsm/report`` is one request. What decides this code
(Linux 6.7 and later, ``Documentation/ABI/testing/configfs-tsm-report``):

* ``inblob`` is stored when the file is *closed*, and the kernel ignores the result of that
  store. A write that was lost is silent, so `generation` is compared with the number of our
  own writes before the report is read, and again after.
* Another value of `generation` means that somebody else uses our directory. Its name is
  random and used once, so that is never an accident: the request is refused, not repeated.
* Both providers want exactly 64 bytes; a report of other data says so only when it is read.
* One request at a time in this process: the hardware takes few a second, and a queue in the
  kernel ends in EBUSY.

What comes back is not believed: `TsmClient.report` reads the 64 bytes back out of the report
with the caller's parser and refuses any other value.

Source: attestation.md sections 5.1 and 5.2.
"""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from confide.attest.binding import REPORT_DATA_LENGTH
from confide.errors import EvidenceError

__all__ = [
    "ROOT",
    "SEV_GUEST",
    "TDX_GUEST",
    "KernelFiles",
    "TsmClient",
    "TsmFiles",
    "TsmReport",
]

T = TypeVar("T")

ROOT: Final = "/sys/kernel/config/tsm/report"
SEV_GUEST: Final = "sev_guest"
TDX_GUEST: Final = "tdx_guest"

_MAX_BLOB: Final = 256 * 1024
_MAX_PRIVLEVEL: Final = 3  # VMPL 0 to 3
_ATTEMPTS: Final = 5
_PAUSE_S: Final = 0.2
_AGAIN: Final = frozenset({errno.EBUSY, errno.EINTR, errno.ETIMEDOUT, errno.EIO, errno.EEXIST})
_ABSENT: Final = frozenset({errno.ENXIO, errno.ENOENT, errno.ENODEV, errno.ENOTDIR})
_ONE_AT_A_TIME = threading.Lock()


class TsmFiles(Protocol):
    """The four things done to configfs. Each raises OSError as the system call would."""

    def mkdir(self, path: str) -> None:
        """Make one directory."""
        ...

    def rmdir(self, path: str) -> None:
        """Remove one directory; its attributes go with it."""
        ...

    def read(self, path: str) -> bytes:
        """Read a whole attribute, at most 256 KiB."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Open, write once, close. What the close did is not known."""
        ...


class KernelFiles:
    """The real configfs. No buffering: one write is one system call."""

    def mkdir(self, path: str) -> None:
        """Make one directory."""
        os.mkdir(path, 0o700)

    def rmdir(self, path: str) -> None:
        """Remove one directory."""
        os.rmdir(path)

    def read(self, path: str) -> bytes:
        """Read until the end.

        Raises:
            OSError: As the kernel says; EFBIG beyond 256 KiB.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = bytearray()
            while block := os.read(descriptor, 64 * 1024):
                content += block
                if len(content) > _MAX_BLOB:
                    raise OSError(errno.EFBIG, "the attribute is longer than any report")
            return bytes(content)
        finally:
            os.close(descriptor)

    def write(self, path: str, content: bytes) -> None:
        """Write in one call.

        Raises:
            OSError: As the kernel says; EIO if it took only a part.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.EIO, "the attribute took only a part of the write")
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class TsmReport:
    """What the kernel returned, with our 64 bytes found in it.

    Attributes:
        provider: "sev_guest" or "tdx_guest".
        report: `outblob`: an SNP report or a TDX quote.
        aux: `auxblob`: SNP certificate table, untrusted; empty if there is none.
        manifest: `manifestblob` of an SVSM; empty unless a service was asked for.
    """

    provider: str
    report: bytes = field(repr=False)
    aux: bytes = field(default=b"", repr=False)
    manifest: bytes = field(default=b"", repr=False)


class TsmClient:
    """Makes requests, one at a time per process. Safe for use by several threads.

    Args:
        files: Does the four system calls.
        root: Where the kernel shows report requests.
        attempts: How often a request that the hardware was too busy for is made.
        pause: Waits that many seconds between attempts.
        name: Makes the name of one directory, never used before.
    """

    def __init__(
        self,
        files: TsmFiles | None = None,
        *,
        root: str = ROOT,
        attempts: int = _ATTEMPTS,
        pause: Callable[[float], None] = time.sleep,
        name: Callable[[], str] = lambda: f"confide-{secrets.token_hex(16)}",
    ) -> None:
        self._files = files or KernelFiles()
        self._root = root
        self._attempts = attempts
        self._pause = pause
        self._name = name

    def provider(self) -> str:
        """Ask which provider the kernel has.

        Raises:
            EvidenceError: tsm.no_provider, tsm.permission or tsm.retries_exhausted.
        """
        return self._request(lambda folder: self._text(folder, "provider"))

    def report(
        self,
        report_data: bytes,
        *,
        provider: str,
        read_back: Callable[[bytes], bytes],
        privlevel: int | None = None,
        service_provider: str | None = None,
    ) -> TsmReport:
        """Obtain one report about `report_data`.

        Args:
            report_data: 64 bytes.
            provider: The provider that must answer.
            read_back: Finds the 64 bytes in the report; raises EvidenceError if it cannot.
            privlevel: SNP VMPL to ask for. Default: the lowest number the kernel allows.
            service_provider: "svsm" to ask for the manifest of the services of an SVSM too.

        Raises:
            EvidenceError: A code of the group tsm. No report is returned in doubt.
            ValueError: `report_data` is not 64 bytes.
        """
        if len(report_data) != REPORT_DATA_LENGTH:
            raise ValueError(f"report_data must be 64 bytes, not {len(report_data)}")

        def ask(folder: str) -> TsmReport:
            found = self._text(folder, "provider")
            if found != provider:
                raise EvidenceError(
                    f"the kernel's provider is {found!r}, not {provider!r}",
                    code="tsm.no_provider",
                    hint="set platform in the settings to what confide doctor shows",
                )
            request = _Request(self._files, folder)
            request.choose_privlevel(privlevel)
            if service_provider is not None:
                request.write("service_provider", service_provider.encode("ascii"))
            request.write("inblob", report_data)
            outblob = request.read_report("outblob")
            if not outblob:
                raise EvidenceError("the kernel returned an empty report", code="tsm.outblob")
            aux = request.read_report("auxblob") if found == SEV_GUEST else b""
            manifest = request.read_report("manifestblob") if service_provider else b""
            return TsmReport(found, outblob, aux, manifest)

        answer = self._request(ask)
        if not hmac.compare_digest(read_back(answer.report), report_data):
            raise EvidenceError(
                "the report is about other data than was asked for", code="tsm.report_data_echo"
            )
        return answer

    def _request(self, ask: Callable[[str], T]) -> T:
        refused: OSError | None = None
        with _ONE_AT_A_TIME:
            for attempt in range(self._attempts):
                if attempt:
                    self._pause(_PAUSE_S * 2 ** (attempt - 1))
                try:
                    with self._folder() as folder:
                        return ask(folder)
                except OSError as error:
                    if error.errno not in _AGAIN:
                        raise _permanent(error) from error
                    refused = error
        raise EvidenceError(
            f"the hardware gave no report in {self._attempts} attempts: {_name_of(refused)}",
            code="tsm.retries_exhausted",
            hint="other programs of this machine may be asking too; try again",
        ) from refused

    @contextmanager
    def _folder(self) -> Iterator[str]:
        folder = f"{self._root}/{self._name()}"
        self._files.mkdir(folder)
        try:
            yield folder
        finally:
            # Nothing is lost with it: a later request has another name.
            with suppress(OSError):
                self._files.rmdir(folder)

    def _text(self, folder: str, attribute: str) -> str:
        raw = self._files.read(f"{folder}/{attribute}")
        return raw[:64].decode("ascii", "replace").strip()


class _Request:
    """One directory, and the value `generation` must have."""

    def __init__(self, files: TsmFiles, folder: str) -> None:
        self._files = files
        self._folder = folder
        self._expected = self._generation()

    def choose_privlevel(self, wanted: int | None) -> None:
        """Write the VMPL if it must be written; TDX hides both attributes."""
        try:
            floor = self._number("privlevel_floor")
        except FileNotFoundError:
            return
        level = floor if wanted is None else wanted
        if not floor <= level <= _MAX_PRIVLEVEL:
            raise EvidenceError(
                f"privilege level {level} is outside {floor} to {_MAX_PRIVLEVEL}",
                code="tsm.privlevel",
            )
        # A new request starts at level 0; only a guest above VMPL 0 must say otherwise.
        if level:
            self.write("privlevel", str(level).encode("ascii"))

    def write(self, attribute: str, content: bytes) -> None:
        self._files.write(f"{self._folder}/{attribute}", content)
        self._expected += 1
        found = self._generation()
        if found != self._expected:
            self._refuse(f"after writing {attribute}", found)

    def read_report(self, attribute: str) -> bytes:
        content = self._files.read(f"{self._folder}/{attribute}")
        found = self._generation()
        if found != self._expected:
            self._refuse(f"after reading {attribute}", found)
        return content

    def _refuse(self, when: str, found: int) -> None:
        cause = "the write was not stored" if found < self._expected else "somebody else wrote"
        raise EvidenceError(
            f"the generation is {found} {when}, not {self._expected}: {cause}",
            code="tsm.generation_conflict",
        )

    def _generation(self) -> int:
        return self._number("generation")

    def _number(self, attribute: str) -> int:
        raw = self._files.read(f"{self._folder}/{attribute}")[:32]
        text = raw.decode("ascii", "replace").strip()
        if not (text.isascii() and text.isdigit()):
            raise EvidenceError(f"{attribute} is not a number", code="tsm.outblob")
        return int(text)


def _permanent(error: OSError) -> EvidenceError:
    if error.errno in _ABSENT:
        return EvidenceError(
            f"the kernel has no provider of reports: {_name_of(error)}",
            code="tsm.no_provider",
            hint="confide doctor shows what this machine has; the kernel must be 6.7 or newer",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return EvidenceError(
            "this user may not ask for a report",
            code="tsm.permission",
            hint=f"give the group of the enclave access to {ROOT} at boot, or start it as root",
        )
    if error.errno == errno.ENOTTY:
        return EvidenceError(
            "the guest's key to the security processor is disabled until the machine restarts",
            code="tsm.outblob",
            hint="restart the virtual machine",
        )
    return EvidenceError(f"the kernel gave no report: {_name_of(error)}", code="tsm.outblob")


def _name_of(error: OSError | None) -> str:
    number = error.errno if error is not None else None
    return "unknown" if number is None else errno.errorcode.get(number, str(number))
