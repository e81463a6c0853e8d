"""configfs-tsm in memory, with the kernel's rules (drivers/virt/coco/guest/report.c).

A directory of prepared files would not do: it has no generation counter, shows every
attribute to every provider, and returns stale blobs.
"""

import errno
import os
from collections import defaultdict

ROOT = "/sys/kernel/config/tsm/report"

WRITE_ONLY = {"inblob", "privlevel", "service_provider", "service_guid", "service_manifest_version"}
SNP_ONLY = {"auxblob", "privlevel", "privlevel_floor"}
SVSM_ONLY = {"manifestblob", "service_provider", "service_guid", "service_manifest_version"}
ATTRIBUTES = {"inblob", "outblob", "provider", "generation"} | SNP_ONLY | SVSM_ONLY
BINARY = {"inblob", "outblob", "auxblob", "manifestblob"}


def failure(number):
    return OSError(number, os.strerror(number))


def snp_report(data, level=0, *, tail=b""):
    """A report of version 3 of a Genoa, as AMD lays it out; the signature is nobody's."""
    raw = bytearray(1184)
    raw[0:4] = (3).to_bytes(4, "little")
    raw[0x30:0x34] = level.to_bytes(4, "little")
    raw[0x34:0x38] = (1).to_bytes(4, "little")  # ECDSA P-384 with SHA-384
    raw[0x50:0x90] = data
    raw[0x188:0x18A] = bytes((0x19, 0x11))
    return bytes(raw) + tail


class _Folder:
    def __init__(self):
        self.values = {}
        self.written = 0  # "write_generation"
        self.made_at = None  # generation that `made` belongs to
        self.made = {}


class FakeTsm:
    """Satisfies `TsmFiles`.

    Args:
        provider: "sev_guest", "tdx_guest", or None for a machine without any.
        make: Called with (inblob, privlevel); returns the report.
        aux: The certificate table that the host gives an SNP guest.
        floor: Lowest VMPL this guest may ask for. Above 0 there is an SVSM.

    Attributes:
        faults: (operation, attribute) to a list of errno values, used up one by one.
        lost_stores: How many of the next stores of a binary attribute the kernel drops.
        before: Called with (double, operation, folder, attribute) first; may interfere.
        log: Every operation, in order.
        made_folders: Every directory ever made.
    """

    def __init__(self, provider="sev_guest", *, make=None, aux=b"", floor=0, most=32 * 1024):
        self.provider = provider
        self.make = make or snp_report
        self.aux = aux
        self.floor = floor
        self.most = most
        self.faults = defaultdict(list)
        self.lost_stores = 0
        self.before = lambda *_: None
        self.log = []
        self.folders = {}
        self.made_folders = []

    def mkdir(self, path):
        self._fail("mkdir", "")
        if not path.startswith(ROOT + "/") or "/" in path.removeprefix(ROOT + "/"):
            raise failure(errno.ENOENT)
        if self.provider is None:
            raise failure(errno.ENXIO)
        if path in self.folders:
            raise failure(errno.EEXIST)
        self.folders[path] = _Folder()
        self.made_folders.append(path)

    def rmdir(self, path):
        self._fail("rmdir", "")
        if path not in self.folders:
            raise failure(errno.ENOENT)
        del self.folders[path]

    def write(self, path, content):
        folder, attribute = self._find("write", path)
        if attribute not in WRITE_ONLY:
            raise failure(errno.EACCES)
        self._check(attribute, content)
        if attribute in BINARY and self.lost_stores:
            self.lost_stores -= 1  # the result of a store at close is nobody's
            return
        folder.values[attribute] = bytes(content)
        folder.written += 1

    def read(self, path):
        folder, attribute = self._find("read", path)
        if attribute in WRITE_ONLY:
            raise failure(errno.EACCES)
        if attribute == "provider":
            return f"{self.provider}\n".encode()
        if attribute == "generation":
            return f"{folder.written}\n".encode()
        if attribute == "privlevel_floor":
            return f"{self.floor}\n".encode()
        if folder.made_at != folder.written:
            self._generate(folder)
        return folder.made[attribute]

    def _check(self, attribute, content):
        if attribute == "inblob" and len(content) > 64:
            raise failure(errno.EFBIG)
        if attribute == "privlevel" and not self.floor <= self._level(content) <= 3:
            raise failure(errno.EINVAL)
        if attribute == "service_provider" and content.strip() != b"svsm":
            raise failure(errno.EINVAL)

    def _generate(self, folder):
        inblob = folder.values.get("inblob", b"")
        level = self._level(folder.values.get("privlevel", b"0"))
        if len(inblob) != 64 or not self.floor <= level:
            raise failure(errno.EINVAL)
        report = self.make(inblob, level)
        if len(report) > self.most:
            raise failure(errno.EFBIG)
        manifest = b"services" if "service_provider" in folder.values else b""
        folder.made = {"outblob": report, "auxblob": self.aux, "manifestblob": manifest}
        folder.made_at = folder.written

    def _find(self, operation, path):
        place, _, attribute = path.rpartition("/")
        self.before(self, operation, place, attribute)
        self.log.append((operation, attribute))
        if place not in self.folders or attribute not in ATTRIBUTES - self._hidden():
            raise failure(errno.ENOENT)
        self._fail(operation, attribute)
        return self.folders[place], attribute

    def _hidden(self):
        hidden = set() if self.provider == "sev_guest" else set(SNP_ONLY)
        return hidden if self.provider == "sev_guest" and self.floor else hidden | SVSM_ONLY

    def _fail(self, operation, attribute):
        if self.faults[operation, attribute]:
            raise failure(self.faults[operation, attribute].pop(0))

    @staticmethod
    def _level(content):
        try:
            return int(content)
        except ValueError:
            raise failure(errno.EINVAL) from None
