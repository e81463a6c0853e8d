"""What a report says about its device, in the words that policies use.

Opaque fields read here (u16 type): 3 driver version, 6 VBIOS version, 15 chip SKU, 17
project, 18 project SKU, 20 firmware id, 21 protected PCIe status, 22 the switches a GPU is
connected to (8 bytes each), 35 chip, 36 feature flag.

Source: NVIDIA's attestation SDK; recorded reports of drivers 535 to 590.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from confide.attest.platforms.nvidia.ocsp import serial_text
from confide.attest.platforms.nvidia.spdm import Report
from confide.errors import EndorsementError

__all__ = ["FIRMWARE_ID", "GPU", "SWITCH", "UNKNOWN_MODE", "Device", "read_device"]

GPU: Final = "gpu"
SWITCH: Final = "switch"
UNKNOWN_MODE: Final = "unknown"
FIRMWARE_ID: Final = 20

_DRIVER: Final = 3
_VBIOS: Final = 6
_CHIP_SKU: Final = 15
_PROJECT: Final = 17
_PROJECT_SKU: Final = 18
_PPCIE: Final = 21
_PDIS: Final = 22
_CHIP_INFO: Final = 35
_FEATURE_FLAG: Final = 36

_ARCHITECTURES: Final[Mapping[str, tuple[str, str]]] = {
    "GH": ("HOPPER", GPU),
    "GB": ("BLACKWELL", GPU),
    "LS": ("LS10", SWITCH),
}
_MODES: Final = {0: "SPT", 1: "MPT", 2: "PPCIE"}
_PPCIE_ON: Final = b"\xaa"
_PDI_LENGTH: Final = 8


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        serial: Serial number of its identity certificate, lower-case hex of whole bytes.
            It is burnt in, so it counts devices.
        kind: "gpu" or "switch".
        arch: "HOPPER", "BLACKWELL" or "LS10".
        chip: First word of the leaf certificate's name, such as "GH100".
        driver: Such as "550.90.07"; empty for a switch.
        vbios: Such as "96.00.9F.00.01".
        project: Board, such as "1010"; empty for a switch.
        project_sku: Such as "0200".
        chip_sku: Such as "882".
        mode: "SPT" (one GPU), "MPT" (several, encrypted NVLink), "PPCIE" (several behind
            NVSwitches), or "unknown": older drivers do not say.
        pdis: Identifiers of the switches a GPU sees, or of the switch itself; hex.
        measurements: Lower-case hex by golden index, which is the block's index less one.
    """

    serial: str
    kind: str
    arch: str
    chip: str
    driver: str
    vbios: str
    project: str
    project_sku: str
    chip_sku: str
    mode: str
    pdis: tuple[str, ...]
    measurements: Mapping[str, str] = field(repr=False)


def read_device(report: Report, chain: tuple[x509.Certificate, ...]) -> Device:
    """Join a report with the chain of the device that signed it; both were checked.

    Raises:
        EndorsementError: nv.arch: a chip this version does not know, or a report of another
            kind of chip than the certificates name.
    """
    leaf, identity = chain[0], chain[1]
    chip = _chip(leaf)
    if chip != _chip(identity):
        raise EndorsementError("leaf and identity certificate name two chips", code="nv.arch")
    if chip[:2] not in _ARCHITECTURES:
        raise EndorsementError(f"unknown NVIDIA chip {chip}", code="nv.arch")
    arch, kind = _ARCHITECTURES[chip[:2]]
    opaque = report.opaque
    stated = _text(opaque.get(_CHIP_INFO))
    if (kind == GPU) != (_DRIVER in opaque) or (stated and stated[:2] != chip[:2]):
        raise EndorsementError(
            f"the report is not of the chip {chip} that its certificates name", code="nv.arch"
        )
    return Device(
        serial=serial_text(identity.serial_number),
        kind=kind,
        arch=arch,
        chip=chip,
        driver=_text(opaque.get(_DRIVER)),
        vbios=_vbios(opaque.get(_VBIOS), kind),
        project=_text(opaque.get(_PROJECT)),
        project_sku=_text(opaque.get(_PROJECT_SKU)),
        chip_sku=_text(opaque.get(_CHIP_SKU)),
        mode=_mode(opaque),
        pdis=_pdis(opaque.get(_PDIS, b"")),
        measurements={
            str(index - 1): value.hex() for index, value in report.blocks.items() if index
        },
    )


def _chip(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    words = str(names[0].value).split() if len(names) == 1 else []
    return words[0] if words else "without a name"


def _text(value: bytes | None) -> str:
    """Read NUL-padded ASCII; what is no text is shown in hex, so it equals no version."""
    stripped = (value or b"").rstrip(b"\0")
    text = stripped.decode("ascii", "replace")
    return text if text.isascii() and (text.isprintable() or not text) else stripped.hex()


def _vbios(value: bytes | None, kind: str) -> str:
    """Write a version as NVIDIA does: text of a switch, or 8 little-endian bytes of a GPU.

    The bytes 00 9f 00 96 01 00 00 00 are version 96.00.9F.00.01: the low half from its top
    byte down, then the lowest byte of the high half.
    """
    if kind == SWITCH or value is None or len(value) != 8:
        return _text(value).upper()
    parts = [*reversed(value[:4]), value[4]]
    return ".".join(f"{part:02X}" for part in parts)


def _mode(opaque: Mapping[int, bytes]) -> str:
    flag = opaque.get(_FEATURE_FLAG)
    if flag:
        return _MODES.get(int.from_bytes(flag[:8], "little"), UNKNOWN_MODE)
    # Firmware without the flag says at least whether protected PCIe is on.
    return "PPCIE" if opaque.get(_PPCIE) == _PPCIE_ON else UNKNOWN_MODE


def _pdis(value: bytes) -> tuple[str, ...]:
    """Return the distinct identifiers that are not zero, in order."""
    found = (value[n : n + _PDI_LENGTH] for n in range(0, len(value), _PDI_LENGTH))
    return tuple(sorted({one.hex() for one in found if any(one)}))
