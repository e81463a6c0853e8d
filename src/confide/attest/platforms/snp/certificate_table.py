"""Read the certificate table that a host gives its guest beside a report.

configfs-tsm calls it `auxblob`, the extended guest request `certs`: entries of GUID (16 bytes,
mixed endian), offset and length (32 bits, little-endian), ended by an entry of zeros. The host
made it, so it is a place to find certificates and nothing more.

Source: AMD publication 56421 (SEV-ES guest-hypervisor communication block), section 4.1.8.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final

from confide.errors import EvidenceError

__all__ = ["ARK", "ASK", "CRL", "MAX_TABLE", "VCEK", "VLEK", "parse_certificate_table"]

VCEK: Final = "63da758d-e664-4564-adc5-f4b93be8accd"
VLEK: Final = "a8074bc2-a25a-483e-aae6-39c045a0b8a1"
ASK: Final = "4ab7b379-bbac-4fe4-a02f-05aef327c782"
ARK: Final = "c0b406a4-a803-4952-9743-3fb6014cd0ae"
CRL: Final = "92f81bc3-5811-4d3d-97ff-d19f88dc67ea"

MAX_TABLE: Final = 128 * 1024
"""Largest table that is read, in bytes."""

_ENTRY: Final = 24
_MAX_ENTRIES: Final = 32
_MAX_CERTIFICATE: Final = 32 * 1024


def parse_certificate_table(blob: bytes) -> Mapping[str, bytes]:
    """Return the entries by GUID, in lower case; GUIDs that mean nothing here are kept too.

    Args:
        blob: At most 128 KiB; empty if the host gave none.

    Raises:
        EvidenceError: tsm.outblob: too large, not ended, an entry out of bounds, larger than
            32 KiB or listed twice. No other exception.
    """
    if not blob:
        return {}
    if len(blob) > MAX_TABLE:
        raise _malformed(f"larger than {MAX_TABLE} bytes")
    found: dict[str, bytes] = {}
    for number in range(_MAX_ENTRIES + 1):
        entry = blob[number * _ENTRY : (number + 1) * _ENTRY]
        if len(entry) != _ENTRY:
            raise _malformed("not ended by an entry of zeros")
        if not any(entry):
            return found
        name = str(uuid.UUID(bytes_le=entry[:16]))
        offset, length = (int.from_bytes(entry[at : at + 4], "little") for at in (16, 20))
        if length > _MAX_CERTIFICATE or offset + length > len(blob) or offset < _ENTRY:
            raise _malformed("an entry is out of bounds")
        if name in found:
            raise _malformed("an entry is listed twice")
        found[name] = blob[offset : offset + length]
    raise _malformed(f"more than {_MAX_ENTRIES} entries")


def _malformed(reason: str) -> EvidenceError:
    return EvidenceError(f"the host's certificate table: {reason}", code="tsm.outblob")
