"""Read what Azure's paravisor (HCL) says: its report and the runtime document in it.

    "HCLA", version, size, ...   32 bytes
    hardware report              1184 bytes: an SNP report, or a TDREPORT and padding
    size, version, type, hash type, length   five u32
    runtime document             JSON, whose SHA-256 is in the hardware report

All integers are little-endian. The runtime document holds the public half of the virtual
TPM's attestation key (HCLAkPub), the configuration of the virtual machine and 64 bytes that
the guest chose.

Source: Microsoft, "Azure confidential VM guest attestation design" and its HCL report
format; compared with recorded reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from confide.attest.strict_json import read_base64url, read_object
from confide.errors import EvidenceError

__all__ = ["MAX_RUNTIME", "HclReport", "Runtime"]

MAX_RUNTIME: Final = 16 * 1024
"""Largest runtime document, in bytes; recorded ones have about 1,200."""

_MAX_REPORT: Final = 32 * 1024
_HEADER: Final = 32
_HARDWARE: Final = 1184
_FIELDS: Final = 20
_RUNTIME_AT: Final = _HEADER + _HARDWARE + _FIELDS
_VERSIONS: Final = (1, 2)
_RUNTIME_VERSION: Final = 1
_TYPES: Final = {2: 1184, 4: 1024}
_SHA256: Final = 1
_KEY: Final = "HCLAkPub"
_MOST_KEYS: Final = 8
_MODULUS: Final = (256, 512)
_MAX_EXPONENT: Final = 4
_USER_DATA: Final = 64


@dataclass(frozen=True)
class HclReport:
    """What NV index 0x01400001 of the virtual TPM holds.

    Attributes:
        kind: 2 for SEV-SNP, 4 for TDX.
        hardware: The SNP report (1184 bytes) or TDREPORT (1024 bytes).
        runtime: The runtime document, byte for byte.
    """

    kind: int
    hardware: bytes = field(repr=False)
    runtime: bytes = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> HclReport:
        """Read a report.

        Args:
            raw: At most 32 KiB, untrusted; what follows the document is cut off.

        Raises:
            EvidenceError: azure.hcl_header.
        """
        if not _RUNTIME_AT <= len(raw) <= _MAX_REPORT or raw[:4] != b"HCLA":
            raise _refuse("hcl_header", "not a report of Azure's paravisor")
        if _integer(raw, 4) not in _VERSIONS:
            raise _refuse("hcl_header", f"a report of version {_integer(raw, 4)}, not 1 or 2")
        at = _HEADER + _HARDWARE
        size, version, kind, hash_type, length = (
            _integer(raw, at + 4 * number) for number in range(_FIELDS // 4)
        )
        if version != _RUNTIME_VERSION or kind not in _TYPES or hash_type != _SHA256:
            raise _refuse(
                "hcl_header", f"runtime data of version {version}, type {kind}, hash {hash_type}"
            )
        if size != _FIELDS + length or not 0 < length <= min(MAX_RUNTIME, len(raw) - _RUNTIME_AT):
            raise _refuse("hcl_header", f"a runtime document of {length} bytes is cut off")
        hardware = raw[_HEADER : _HEADER + _TYPES[kind]]
        return cls(kind, hardware, raw[_RUNTIME_AT : _RUNTIME_AT + length])


@dataclass(frozen=True)
class Runtime:
    """What the runtime document says. Believe it only after its digest was compared.

    Attributes:
        attestation_key: HCLAkPub: signs the TPM's quotes.
        user_data: What the guest wrote to NV index 0x01400002, 64 bytes.
        vm: Configuration of the virtual machine, such as "secure-boot".
    """

    attestation_key: RSAPublicKey
    user_data: bytes
    vm: Mapping[str, object]

    @classmethod
    def parse(cls, document: bytes) -> Runtime:
        """Read a document.

        Args:
            document: At most 16 KiB of JSON.

        Raises:
            EvidenceError: azure.runtime, or azure.ak_missing without a usable key.
        """
        try:
            members = read_object(document, limit=MAX_RUNTIME)
        except EvidenceError as error:
            raise _refuse("runtime", f"runtime document: {error}") from None
        vm = members.get("vm-configuration", {})
        if not isinstance(vm, dict):
            raise _refuse("runtime", "vm-configuration is no object")
        return cls(_key(members.get("keys")), _user_data(members.get("user-data")), vm)


def _refuse(code: str, message: str) -> EvidenceError:
    return EvidenceError(message, code=f"azure.{code}")


def _integer(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


def _user_data(value: object) -> bytes:
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        found = b""
    if len(found) != _USER_DATA:
        raise _refuse("runtime", f"user-data is not {_USER_DATA} bytes in hexadecimal")
    return found


def _key(value: object) -> RSAPublicKey:
    """Return the only key called HCLAkPub, an RSA key of 2048 to 4096 bits."""
    listed = value if isinstance(value, list) and len(value) <= _MOST_KEYS else []
    found = [one for one in listed if isinstance(one, dict) and one.get("kid") == _KEY]
    if len(found) != 1 or found[0].get("kty") != "RSA":
        raise _refuse("ak_missing", f"the runtime document has no {_KEY}")
    try:
        modulus = read_base64url(found[0].get("n"), "n", limit=_MODULUS[1])
        exponent = read_base64url(found[0].get("e"), "e", limit=_MAX_EXPONENT)
        if len(modulus) < _MODULUS[0] or not modulus[0]:
            raise ValueError("a modulus of another size")
        numbers = (int.from_bytes(one, "big") for one in (exponent, modulus))
        return RSAPublicNumbers(*numbers).public_key()
    except (EvidenceError, ValueError):
        raise _refuse("ak_missing", f"{_KEY} is not a usable RSA key") from None
