"""The ioctls of /dev/sev-guest, reading and writing the caller's memory as the kernel does.

Byte offsets are written out here, not taken from the structures under test.
"""

import ctypes
import errno
import struct

from tests.doubles.configfs_tsm import failure, snp_report


class FakeSevGuest:
    """Stands in for `fcntl.ioctl`."""

    def __init__(
        self,
        *,
        certificates=b"",
        vmpl=0,
        busy=None,
        times=0,
        error=None,
        firmware=0,
        status=0,
        length=1184,
        forge=None,
    ):
        self.certificates, self.vmpl = certificates, vmpl
        self.busy, self.times = busy, times
        self.error, self.firmware = error, firmware
        self.status, self.length, self.forge = status, length, forge
        self.requests = []

    def __call__(self, descriptor, number, argument, mutate):
        assert mutate is True
        view = memoryview(argument).cast("B")
        assert len(view) == 32
        version, request_at, response_at, code = struct.unpack("<B7xQQQ", view)
        assert (version, code) == (1, 0)
        extended = {0xC0205300: False, 0xC0205302: True}[number]
        self.requests.append("ext" if extended else "plain")
        request = ctypes.string_at(request_at, 112 if extended else 96)
        assert struct.unpack("<I", request[64:68]) == (self.vmpl,)
        assert request[68:96] == bytes(28)
        if self.times:
            self.times -= 1
            if self.busy == "host":
                view[24:32] = struct.pack("<II", 0, 2)
                raise failure(errno.EIO)
            raise failure(errno.EBUSY)
        if extended:
            address, room, _ = struct.unpack("<QII", request[96:112])
            assert room % 4096 == 0
            assert 0 < room <= 0x4000
            if len(self.certificates) > room:
                view[24:32] = struct.pack("<II", 0, 1)
                raise failure(errno.EIO)
            ctypes.memmove(address, self.certificates, len(self.certificates))
        if self.firmware:
            view[24:32] = struct.pack("<II", self.firmware, 0)
        if self.error:
            raise failure(self.error)
        report = snp_report(self.forge or request[:64], self.vmpl)
        answer = struct.pack("<II24x", self.status, self.length) + report
        ctypes.memmove(response_at, answer + bytes(4000 - len(answer)), 4000)
        return 0
