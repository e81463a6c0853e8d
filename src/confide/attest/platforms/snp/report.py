"""The SEV-SNP attestation report: 1184 bytes, little-endian, and what they mean.

Parsing judges nothing but the form. Which generation of processor made a report decides how
its security versions are laid out: the family of the processor, not the report's version.

Source: AMD SEV Secure Nested Paging Firmware ABI, publication 56860, section "ATTESTATION
REPORT"; attestation.md section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import Final

from confide.errors import EvidenceError

__all__ = [
    "KNOWN_PLATFORM_INFO",
    "REPORT_LENGTH",
    "SIGNED_LENGTH",
    "Platform",
    "Policy",
    "Signer",
    "SnpReport",
    "components",
    "product_of_cpuid",
]

REPORT_LENGTH: Final = 1184
"""Bytes of a report."""
SIGNED_LENGTH: Final = 0x2A0
"""The signature covers the bytes before this offset."""

_VERSIONS: Final = frozenset({2, 3, 4, 5})
_FIRST_WITH_CPUID: Final = 3
_ECDSA_P384_SHA384: Final = 1
_HOST_REQUESTED: Final = 0xFFFF_FFFF
_COORDINATE: Final = 72
_USED: Final = 48

_OLD_LAYOUT: Final = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
_TURIN_LAYOUT: Final = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}


class Policy(IntFlag):
    """Bits of the guest policy that the launch fixed."""

    SMT = 1 << 16
    RESERVED_ONE = 1 << 17
    MIGRATION_AGENT = 1 << 18
    DEBUG = 1 << 19
    SINGLE_SOCKET = 1 << 20
    CXL = 1 << 21
    AES_256_XTS = 1 << 22
    RAPL_DISABLED = 1 << 23
    CIPHERTEXT_HIDING = 1 << 24
    PAGE_SWAP_DISABLED = 1 << 25


POLICY_ABOVE: Final = 26
"""Policy bits from here on must be zero."""


class Platform(IntFlag):
    """Bits of PLATFORM_INFO: what the host's firmware says about the machine."""

    SMT = 1 << 0
    TSME = 1 << 1
    ECC = 1 << 2
    RAPL_DISABLED = 1 << 3
    CIPHERTEXT_HIDING = 1 << 4
    ALIAS_CHECK = 1 << 5
    SEV_TIO = 1 << 7


KNOWN_PLATFORM_INFO: Final = sum(Platform)


class Signer(StrEnum):
    """Which kind of key signed."""

    VCEK = "vcek"
    VLEK = "vlek"


_SIGNERS: Final = {0: Signer.VCEK, 1: Signer.VLEK}


@dataclass(frozen=True)
class SnpReport:
    """One report, well-formed and nothing more.

    Attributes:
        raw: The 1184 bytes.
        version: 2, 3, 4 or 5.
        signer: Which kind of key the report says signed it.
        product: "Milan", "Genoa" or "Turin" by CPUID; None if it is unknown here, and in
            version 2, which has no CPUID.
        model: CPUID model; None in version 2.
    """

    raw: bytes = field(repr=False)
    version: int
    signer: Signer
    product: str | None
    model: int | None

    @classmethod
    def parse(cls, raw: bytes) -> SnpReport:
        """Read a report from anyone.

        Raises:
            EvidenceError: snp.report_size, .report_version, .sig_algo, .signature_padding or
                .signing_key. No other exception.
        """
        if len(raw) != REPORT_LENGTH:
            raise EvidenceError(
                f"an SEV-SNP report is {REPORT_LENGTH} bytes, not {len(raw)}",
                code="snp.report_size",
            )
        version = _int(raw, 0x000, 4)
        if version not in _VERSIONS:
            raise EvidenceError(
                f"the report has version {version}; known: 2, 3, 4, 5", code="snp.report_version"
            )
        if _int(raw, 0x034, 4) != _ECDSA_P384_SHA384:
            raise EvidenceError(
                "the report is not signed with ECDSA P-384 and SHA-384", code="snp.sig_algo"
            )
        _check_padding(raw)
        signer = _SIGNERS.get(_int(raw, 0x048, 4) >> 2 & 7)
        if signer is None:
            raise EvidenceError(
                "the report is signed with neither VCEK nor VLEK", code="snp.signing_key"
            )
        product, model = None, None
        if version >= _FIRST_WITH_CPUID:
            model = raw[0x189]
            product = product_of_cpuid(raw[0x188], model)
        return cls(bytes(raw), version, signer, product, model)

    def integer(self, offset: int, length: int) -> int:
        """Return a little-endian number."""
        return _int(self.raw, offset, length)

    def part(self, offset: int, length: int) -> bytes:
        """Return some of the bytes."""
        return self.raw[offset : offset + length]

    @property
    def signed(self) -> bytes:
        """What the signature covers, 672 bytes."""
        return self.raw[:SIGNED_LENGTH]

    @property
    def signature(self) -> tuple[int, int]:
        """R and s."""
        first = self.part(SIGNED_LENGTH, _COORDINATE)
        second = self.part(SIGNED_LENGTH + _COORDINATE, _COORDINATE)
        return int.from_bytes(first, "little"), int.from_bytes(second, "little")

    @property
    def requested_by_host(self) -> bool:
        """Whether the host asked for it: then REPORT_DATA is the host's as well."""
        return self.integer(0x030, 4) == _HOST_REQUESTED

    @property
    def cpuid(self) -> tuple[int, int, int] | None:
        """Family, model and stepping; None in version 2."""
        return None if self.model is None else (self.raw[0x188], self.raw[0x189], self.raw[0x18A])

    @property
    def report_data(self) -> bytes:
        """What the guest put in, 64 bytes."""
        return self.part(0x050, 64)

    @property
    def policy(self) -> int:
        """The guest policy, 64 bits; see `Policy`."""
        return self.integer(0x008, 8)

    @property
    def platform_info(self) -> int:
        """What the firmware says about the machine, 64 bits; see `Platform`."""
        return self.integer(0x040, 8)

    @property
    def reported_tcb(self) -> bytes:
        """The security versions that the signing key was derived from, 8 bytes."""
        return self.part(0x180, 8)

    @property
    def chip_id(self) -> bytes:
        """Identity of the chip, 64 bytes; zero if a VLEK signed or the host masks it."""
        return self.part(0x1A0, 64)

    @property
    def firmware(self) -> str:
        """Version of the firmware that runs now, such as "1.55.29"."""
        build, minor, major = self.part(0x1E8, 3)
        return f"{major}.{minor}.{build}"

    def claims(self, product: str) -> dict[str, object]:
        """Return the fields as claims.

        Args:
            product: From the verified certificate; it decides the layout of the versions.
        """
        policy, info = Policy(self.policy), Platform(self.platform_info & KNOWN_PLATFORM_INFO)
        agent = self.part(0x160, 32)
        return {
            "product": product,
            "model": product if self.model is None else f"{product}/0x{self.model:02x}",
            "measurement": self.part(0x090, 48),
            "debuggable": Policy.DEBUG in policy,
            "tcb": components(self.reported_tcb, product),
            "tcb_current": components(self.part(0x038, 8), product),
            "tcb_committed": components(self.part(0x1E0, 8), product),
            "tcb_launch": components(self.part(0x1F0, 8), product),
            "report_version": self.version,
            "signer": str(self.signer),
            "vmpl": self.integer(0x030, 4),
            "policy": self.policy,
            "policy_reserved": self.policy >> POLICY_ABOVE != 0
            or Policy.RESERVED_ONE not in policy,
            "migration": Policy.MIGRATION_AGENT in policy or agent != b"\xff" * 32,
            "smt": Policy.SMT in policy,
            "cxl": Policy.CXL in policy,
            "single_socket": Policy.SINGLE_SOCKET in policy,
            "abi": f"{self.policy >> 8 & 0xFF}.{self.policy & 0xFF}",
            "firmware": self.firmware,
            "guest_svn": self.integer(0x004, 4),
            "family_id": self.part(0x010, 16),
            "image_id": self.part(0x020, 16),
            "host_data": self.part(0x0C0, 32),
            "id_key_digest": self.part(0x0E0, 48),
            "author_key_digest": self.part(0x110, 48),
            "report_id": self.part(0x140, 32),
            "chip_id": self.chip_id,
            "platform_info": self.platform_info,
            "platform_info_unknown": self.platform_info & ~KNOWN_PLATFORM_INFO,
            "alias_check": Platform.ALIAS_CHECK in info,
            **self._since_later_versions(),
        }

    def _since_later_versions(self) -> dict[str, object]:
        """Version 3 added CPUID; version 5 the mitigations that were on at launch and are now."""
        found: dict[str, object] = {}
        if self.cpuid is not None:
            found["cpuid"] = self.cpuid
        if self.version < 5:
            return found
        return {
            **found,
            "mitigations_launch": self.integer(0x1F8, 8),
            "mitigations_current": self.integer(0x200, 8),
        }


def components(tcb: bytes, product: str) -> Mapping[str, int]:
    """Name the security versions of a TCB_VERSION.

    Args:
        tcb: 8 bytes.
        product: "Turin" has a layout of its own.
    """
    layout = _TURIN_LAYOUT if product == "Turin" else _OLD_LAYOUT
    return {name: tcb[index] for name, index in layout.items()}


def product_of_cpuid(family: int, model: int) -> str | None:
    """Name the product, or None if it is unknown here. Bergamo and Siena use Genoa's keys."""
    if family == 0x19 and model <= 0x0F:
        return "Milan"
    if family == 0x19 and (model in range(0x10, 0x20) or model in range(0xA0, 0xB0)):
        return "Genoa"
    if family == 0x1A and model <= 0x11:
        return "Turin"
    return None


def _int(raw: bytes, offset: int, length: int) -> int:
    return int.from_bytes(raw[offset : offset + length], "little")


def _check_padding(raw: bytes) -> None:
    """These bytes are not signed: anything but zero would make one report many."""
    r, s = SIGNED_LENGTH + _USED, SIGNED_LENGTH + _COORDINATE + _USED
    unused = _COORDINATE - _USED
    rest = raw[SIGNED_LENGTH + 2 * _COORDINATE :]
    if any(raw[r : r + unused]) or any(raw[s : s + unused]) or any(rest):
        raise EvidenceError("bytes around the signature are not zero", code="snp.signature_padding")
