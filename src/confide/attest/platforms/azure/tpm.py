"""The few TPM 2.0 commands an Azure guest needs, over the kernel's resource manager.

A small client of our own instead of a library or the tpm2-tools: six commands, no code of
others in the enclave. Every length that the TPM states is checked before it is used.

Source: TCG TPM 2.0 Library part 3 (commands) and part 2 (structures); the numbers in the
comments are theirs.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from confide.errors import EvidenceError

__all__ = ["DEVICE", "PCR_COUNT", "Quote", "Tpm", "send_to_device"]

DEVICE: Final = "/dev/tpmrm0"
PCR_COUNT: Final = 24

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_OWNER: Final = 0x40000001  # TPM_RH_OWNER
_PASSWORD: Final = struct.pack(">IHBH", 0x40000009, 0, 0, 0)  # TPM_RS_PW, empty password
_NV_DEFINE, _NV_WRITE, _NV_READ, _NV_READ_PUBLIC = 0x12A, 0x137, 0x14E, 0x169
_QUOTE, _PCR_READ = 0x158, 0x17E
_SHA256, _NULL, _RSASSA = 0x000B, 0x0010, 0x0014
_OWNER_READ_WRITE: Final = 1 << 1 | 1 << 2 | 1 << 17 | 1 << 18  # OWNER/AUTH WRITE, OWNER/AUTH READ
_BLOCK: Final = 1024  # smallest TPM_PT_NV_BUFFER_MAX in use
_MAX_ANSWER: Final = 4096
_MAX_INDEX: Final = 16 * 1024
_ATTEMPTS: Final = 5
_PAUSE_S: Final = 0.1
# TPM_RC_YIELDED, _TESTING, _NV_RATE, _RETRY: "send the command again" (part 2, 6.6.3)
_AGAIN: Final = frozenset({0x908, 0x90A, 0x920, 0x922})
_HANDLE_ABSENT: Final = 0x018B  # TPM_RC_HANDLE, parameter or handle 1
_ATTEST_QUOTE: Final = b"\xffTCG\x80\x18"


class Quote(NamedTuple):
    """A signed statement about all 24 SHA-256 PCRs.

    Attributes:
        message: TPMS_ATTEST.
        signature: RSASSA-PKCS1-v1_5 with SHA-256.
        pcrs: 24 values of 32 bytes, whose digest is in the message.
    """

    message: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]


def send_to_device(command: bytes, path: str = DEVICE) -> bytes:
    """Send one command to the kernel's TPM device and return the answer."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(descriptor, command)
        return os.read(descriptor, _MAX_ANSWER)
    finally:
        os.close(descriptor)


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def take(self, length: int) -> bytes:
        part = self._raw[self._at : self._at + length]
        if len(part) != length:
            raise EvidenceError("the TPM's answer is cut off", code="azure.tpm")
        self._at += length
        return part

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def sized(self) -> bytes:
        return self.take(self.number(2))


class Tpm:
    """Sends commands, one after the other.

    Args:
        send: Sends one command, returns the answer; raises OSError.
        pause: Waits that many seconds before a command is sent again.
    """

    def __init__(
        self,
        send: Callable[[bytes], bytes] = send_to_device,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._send = send
        self._pause = pause

    def read_index(self, index: int) -> bytes:
        """Return the content of an NV index, read with the owner's empty password.

        Raises:
            EvidenceError: azure.tpm; absent, larger than 16 KiB, or refused.
        """
        length = self._length_of(index)
        if length is None or length > _MAX_INDEX:
            raise EvidenceError(
                f"the TPM has no usable index {index:#010x}",
                code="azure.tpm",
                hint="is this a confidential virtual machine of Azure?",
            )
        content = b""
        while len(content) < length:
            size = min(_BLOCK, length - len(content))
            arguments = struct.pack(">HH", size, len(content))
            answer = self._run(_NV_READ, (_OWNER, index), arguments)
            block = answer.sized()
            if len(block) != size:
                raise EvidenceError("the TPM returned another length", code="azure.tpm")
            content += block
        return content

    def write_index(self, index: int, content: bytes) -> None:
        """Write a whole NV index; make it if it is not there.

        Raises:
            EvidenceError: azure.tpm.
        """
        found = self._length_of(index)
        if found is None:
            self._define(index, len(content))
        elif found != len(content):
            raise EvidenceError(
                f"index {index:#010x} has {found} bytes, not {len(content)}", code="azure.tpm"
            )
        for start in range(0, len(content), _BLOCK):
            block = content[start : start + _BLOCK]
            arguments = _sized(block) + struct.pack(">H", start)
            self._run(_NV_WRITE, (_OWNER, index), arguments)

    def quote(self, key: int, data: bytes) -> Quote:
        """Have a resident key sign all PCRs and `data`.

        Args:
            key: Handle of a restricted RSA key.
            data: At most 32 bytes.

        Raises:
            EvidenceError: azure.tpm, azure.tpm_nonce or azure.pcr_digest; the PCRs changed
                while they were read, five times.
        """
        for _ in range(_ATTEMPTS):
            pcrs = self._pcrs()
            arguments = _sized(data) + struct.pack(">H", _NULL) + _selection(range(PCR_COUNT))
            answer = self._run(_QUOTE, (key,), arguments)
            message = answer.sized()
            algorithm, digest = answer.number(2), answer.number(2)
            if (algorithm, digest) != (_RSASSA, _SHA256):
                raise EvidenceError(
                    f"the TPM signed with {algorithm:#06x}, {digest:#06x}", code="azure.tpm"
                )
            found, over = _read_attest(message)
            if not hmac.compare_digest(found, data):
                raise EvidenceError("the TPM signed another nonce", code="azure.tpm_nonce")
            if hmac.compare_digest(over, hashlib.sha256(b"".join(pcrs)).digest()):
                return Quote(message, answer.sized(), pcrs)
        raise EvidenceError("the PCRs do not stay as they are", code="azure.pcr_digest")

    def _pcrs(self) -> tuple[bytes, ...]:
        values: list[bytes] = []
        while len(values) < PCR_COUNT:
            wanted = range(len(values), min(len(values) + 8, PCR_COUNT))
            answer = self._run(_PCR_READ, (), _selection(wanted))
            answer.take(4)  # update counter
            for _ in range(answer.number(4)):
                answer.take(2)
                answer.take(answer.number(1))
            count = answer.number(4)
            if count != len(wanted):
                raise EvidenceError("the TPM has no SHA-256 PCRs", code="azure.tpm")
            values += [answer.sized() for _ in range(count)]
        return tuple(values)

    def _length_of(self, index: int) -> int | None:
        try:
            public = _Reader(self._run(_NV_READ_PUBLIC, (index,), b"").sized())
        except _Refused as refused:
            if refused.number == _HANDLE_ABSENT:
                return None
            raise
        public.take(4 + 2 + 4)
        public.sized()
        return public.number(2)

    def _define(self, index: int, length: int) -> None:
        public = struct.pack(">IHIHH", index, _SHA256, _OWNER_READ_WRITE, 0, length)
        self._run(_NV_DEFINE, (_OWNER,), _sized(b"") + _sized(public))

    def _run(self, code: int, handles: Sequence[int], arguments: bytes) -> _Reader:
        """Run one command; those that need an authorisation get the empty password."""
        sessions = code not in (_NV_READ_PUBLIC, _PCR_READ)
        body = b"".join(struct.pack(">I", handle) for handle in handles)
        if sessions:
            body += struct.pack(">I", len(_PASSWORD)) + _PASSWORD
        body += arguments
        tag = _SESSIONS if sessions else _NO_SESSIONS
        command = struct.pack(">HII", tag, 10 + len(body), code) + body
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(_PAUSE_S)
            answer, number = self._exchange(command)
            if number not in _AGAIN:
                break
        if number:
            raise _Refused(code, number)
        if sessions:
            answer.take(4)  # length of the parameters
        return answer

    def _exchange(self, command: bytes) -> tuple[_Reader, int]:
        try:
            raw = self._send(command)
        except OSError as error:
            raise EvidenceError(
                f"the TPM cannot be asked: {error.strerror or error}",
                code="azure.tpm",
                hint=f"the enclave needs access to {DEVICE}, for example by the group tss",
            ) from error
        answer = _Reader(raw)
        answer.take(2)
        if answer.number(4) != len(raw):
            raise EvidenceError("the TPM's answer is cut off", code="azure.tpm")
        return answer, answer.number(4)


class _Refused(EvidenceError):
    def __init__(self, command: int, number: int) -> None:
        super().__init__(f"the TPM refused command {command:#x} with {number:#x}", code="azure.tpm")
        self.number = number


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _selection(pcrs: Sequence[int]) -> bytes:
    bits = sum(1 << pcr for pcr in pcrs)
    return struct.pack(">IHB", 1, _SHA256, 3) + bits.to_bytes(3, "little")


def _read_attest(message: bytes) -> tuple[bytes, bytes]:
    """Return extraData and the PCR digest of a TPMS_ATTEST."""
    attest = _Reader(message)
    if attest.take(6) != _ATTEST_QUOTE:
        raise EvidenceError("the TPM signed something else than a quote", code="azure.tpm")
    attest.sized()  # qualified signer
    extra = attest.sized()
    attest.take(17 + 8)  # clock and firmware version
    for _ in range(attest.number(4)):
        attest.take(2)
        attest.take(attest.number(1))
    return extra, attest.sized()
