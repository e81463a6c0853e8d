"""Write a firmware image that holds nothing but the tables that a launch digest needs.

Layout: tianocore/edk2 OvmfPkg/ResetVector (GUIDed table at the end, read backwards; SEV
metadata "ASEV" with sections of address, size and type).
"""

import struct
import uuid

FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
HASH_TABLE = "7255371f-3a3b-4b04-927b-1da6efa8d454"
RESET_BLOCK = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"

MEMORY, SECRETS, CPUID, KERNEL_HASHES = 1, 2, 3, 0x10
RESET_EIP = 0x80B004
HASHES_AT = 0x80FC00
PLAIN = (
    (0x800000, 0x9000, MEMORY),
    (0x80A000, 0x3000, MEMORY),
    (0x80D000, 0x1000, SECRETS),
    (0x80E000, 0x1000, CPUID),
    (0x80F000, 0x11000, MEMORY),
)
"""Sections of the ordinary build."""
AMD_SEV = (*PLAIN[:4], (0x80F000, 0x1000, KERNEL_HASHES), (0x810000, 0x10000, MEMORY))
"""Sections of the build that measures a kernel."""


def _entry(guid, data):
    return data + struct.pack("<H", len(data) + 18) + uuid.UUID(guid).bytes_le


def ovmf(sections=AMD_SEV, *, size=8192):
    metadata = struct.pack("<4sIII", b"ASEV", 16 + 12 * len(sections), 1, len(sections))
    metadata += b"".join(struct.pack("<III", *section) for section in sections)

    def table(offset):
        entries = (
            _entry(METADATA, struct.pack("<I", offset))
            + _entry(HASH_TABLE, struct.pack("<II", HASHES_AT, 0x400))
            + _entry(RESET_BLOCK, struct.pack("<I", RESET_EIP))
        )
        return entries + struct.pack("<H", len(entries) + 18) + uuid.UUID(FOOTER).bytes_le

    end = len(table(0)) + 32
    tail = metadata + table(end + len(metadata)) + bytes(32)
    return bytes(n % 251 for n in range(size - len(tail))) + tail
