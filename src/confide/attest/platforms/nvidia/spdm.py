"""Read the measurement report of an NVIDIA GPU or NVSwitch.

A report is an SPDM 1.1 GET_MEASUREMENTS request (37 bytes) followed by its response:

    11 e0 p1 p2 nonce[32] slot
    11 60 p1 p2 blocks u24 length, record, nonce[32], u16 length, opaque data, signature[96]

The record holds DMTF measurement blocks: index, specification 1, u16 size, then a value
type, u16 value size and the value. Opaque data is a list of u16 type, u16 size, value.
All integers are little-endian. The signature covers everything before it.

Nothing here is believed yet: the lengths are checked against what is left before anything
is copied, and every byte belongs to exactly one field.

Sources: DMTF DSP0274 1.1 sections 10.11 and 10.12; NVIDIA's attestation SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from confide.errors import EvidenceError

__all__ = ["MAX_REPORT", "NONCE_LENGTH", "SIGNATURE_LENGTH", "Report"]

MAX_REPORT: Final = 64 * 1024
NONCE_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 96
"""ECDSA P-384: r and s, 48 bytes each, big-endian."""

_REQUEST: Final = 37
_REQUEST_HEADER: Final = b"\x11\xe0"
_RESPONSE_HEADER: Final = b"\x11\x60"
_DMTF: Final = 1
_VALUE_HEADER: Final = 3
_MAX_VALUE: Final = 64


@dataclass(frozen=True)
class Report:
    """One report, well-formed and nothing more.

    Attributes:
        nonce: 32 bytes of the request: what the verifier asked for.
        parameters: `p1` and `p2` of the request: whether a signature was asked for, and
            which blocks.
        slot: Certificate slot of the request.
        blocks: Measurement by block index (1 to 254), each 1 to 64 bytes.
        opaque: Value by opaque field type.
        signed: What the signature covers.
        signature: 96 bytes.
    """

    nonce: bytes
    parameters: tuple[int, int]
    slot: int
    blocks: Mapping[int, bytes] = field(repr=False)
    opaque: Mapping[int, bytes] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> Report:
        """Read a report from a hostile sender.

        Args:
            raw: Request and response, at most 64 KiB.

        Raises:
            EvidenceError: nv.truncated (lengths and bytes differ), nv.request_header,
                nv.response_header, nv.meas_spec, nv.meas_length or nv.meas_duplicate.
        """
        if len(raw) > MAX_REPORT:
            raise EvidenceError(
                f"a GPU report of {len(raw)} bytes; at most {MAX_REPORT}", code="nv.truncated"
            )
        reader = _Reader(raw)
        if reader.take(2, "request") != _REQUEST_HEADER:
            raise EvidenceError("no SPDM 1.1 GET_MEASUREMENTS request", code="nv.request_header")
        parameters = reader.take(2, "request")
        nonce = reader.take(NONCE_LENGTH, "request")
        slot = reader.integer(1, "request")
        if reader.take(2, "response") != _RESPONSE_HEADER:
            raise EvidenceError("no SPDM 1.1 MEASUREMENTS response", code="nv.response_header")
        reader.take(2, "response")
        count = reader.integer(1, "response")
        record = reader.take(reader.integer(3, "response"), "measurement record")
        reader.take(NONCE_LENGTH, "response nonce")
        opaque = reader.take(reader.integer(2, "response"), "opaque data")
        signed = raw[: reader.position]
        signature = reader.take(SIGNATURE_LENGTH, "signature")
        reader.end()
        return cls(
            nonce=nonce,
            parameters=(parameters[0], parameters[1]),
            slot=slot,
            blocks=_blocks(record, count),
            opaque=_opaque(opaque),
            signed=signed,
            signature=signature,
        )


class _Reader:
    """Takes fields off the front; refuses what is not there."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.position = 0

    def take(self, length: int, name: str) -> bytes:
        end = self.position + length
        if end > len(self._raw):
            raise EvidenceError(
                f"the GPU report ends {end - len(self._raw)} bytes early, in its {name}",
                code="nv.truncated",
            )
        taken = self._raw[self.position : end]
        self.position = end
        return taken

    def integer(self, length: int, name: str) -> int:
        return int.from_bytes(self.take(length, name), "little")

    @property
    def left(self) -> int:
        return len(self._raw) - self.position

    def end(self) -> None:
        if self.left:
            raise EvidenceError(
                f"{self.left} bytes follow the signature of the GPU report", code="nv.truncated"
            )


def _blocks(record: bytes, count: int) -> Mapping[int, bytes]:
    """Read the measurement blocks; there must be `count`, filling the record exactly."""
    reader = _Reader(record)
    blocks: dict[int, bytes] = {}
    for _ in range(count):
        if reader.left < 4:
            raise EvidenceError(f"fewer than {count} measurement blocks", code="nv.meas_length")
        index, specification = reader.take(2, "block")
        size = reader.integer(2, "block")
        if specification != _DMTF:
            raise EvidenceError(
                f"measurement block {index} is of specification {specification}, not DMTF's",
                code="nv.meas_spec",
            )
        if not _VALUE_HEADER < size <= reader.left:
            raise EvidenceError(
                f"measurement block {index} says {size} bytes; {reader.left} are left",
                code="nv.meas_length",
            )
        if index in blocks:
            raise EvidenceError(f"measurement block {index} twice", code="nv.meas_duplicate")
        blocks[index] = _value(reader.take(size, "block"), index)
    if reader.left:
        raise EvidenceError(
            f"{reader.left} bytes follow the last measurement block", code="nv.meas_length"
        )
    return MappingProxyType(blocks)


def _value(block: bytes, index: int) -> bytes:
    """Return the value of a DMTF measurement: type, u16 size, value."""
    size = int.from_bytes(block[1:_VALUE_HEADER], "little")
    if size != len(block) - _VALUE_HEADER or size > _MAX_VALUE:
        raise EvidenceError(
            f"measurement {index} says {size} bytes; its block holds {len(block) - _VALUE_HEADER}",
            code="nv.meas_length",
        )
    return block[_VALUE_HEADER:]


def _opaque(data: bytes) -> Mapping[int, bytes]:
    reader = _Reader(data)
    fields: dict[int, bytes] = {}
    while reader.left:
        kind = reader.integer(2, "opaque data")
        value = reader.take(reader.integer(2, "opaque data"), "opaque data")
        if kind in fields:
            raise EvidenceError(f"opaque field {kind} twice", code="nv.meas_duplicate")
        fields[kind] = value
    return MappingProxyType(fields)
