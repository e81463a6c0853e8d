"""Read what Intel certified about a platform: the SGX extension of its PCK certificate.

Source: Intel SGX PCK Certificate and CRL Profile Specification 1.5, section 1.3.5; the
extension is a SEQUENCE of SEQUENCE { OID, value } under 1.2.840.113741.1.13.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from confide.attest.der import (
    BOOLEAN,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    DerReader,
    Malformed,
)
from confide.attest.platforms.tdx.chain import MALFORMED
from confide.errors import EndorsementError

__all__ = ["Platform", "read_platform"]

_SGX: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_PREFIX: Final = bytes.fromhex("2a864886f84d010d01")
_PPID, _TCB, _PCE_ID, _FMSPC, _INSTANCE, _CONFIGURATION = 1, 2, 3, 4, 6, 7
_COMPONENTS: Final = 16
_PCE_SVN: Final = 17
_FLAGS: Final = {1: "dynamic_platform", 2: "cached_keys", 3: "smt"}
_MOST_ENTRIES: Final = 32


@dataclass(frozen=True)
class Platform:
    """What the PCK certificate says.

    Attributes:
        ppid: 16 bytes: the processor package.
        components: 16 security versions of the SGX components.
        pce_svn: Security version of the provisioning enclave.
        pce_id: 2 bytes.
        fmspc: 6 bytes: family, model, stepping, platform and custom SKU.
        instance_id: 16 bytes: this platform of several packages; None with a Processor CA.
        flags: "dynamic_platform", "cached_keys" and "smt", as far as they are stated.
    """

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    pce_id: bytes
    fmspc: bytes
    instance_id: bytes | None
    flags: dict[str, bool]


def read_platform(certificate: x509.Certificate) -> Platform:
    """Read the SGX extension of a PCK certificate whose chain was checked.

    Raises:
        EndorsementError: tdx.chain_signature: no such extension, or not of this form.
    """
    try:
        extension = certificate.extensions.get_extension_for_oid(_SGX).value
        entries = _entries(DerReader(_raw(extension)), _PREFIX)
        tcb = _entries(_value(entries, _TCB, SEQUENCE), _PREFIX + bytes([_TCB]))
        components = tuple(
            _ranged(_integer(tcb, number), 0xFF) for number in range(1, _COMPONENTS + 1)
        )
        return Platform(
            ppid=_octets(entries, _PPID, 16),
            components=components,
            pce_svn=_ranged(_integer(tcb, _PCE_SVN), 0xFFFF),
            pce_id=_octets(entries, _PCE_ID, 2),
            fmspc=_octets(entries, _FMSPC, 6),
            instance_id=_octets(entries, _INSTANCE, 16) if _INSTANCE in entries else None,
            flags=_flags(entries),
        )
    except MALFORMED:
        raise EndorsementError(
            "the PCK certificate does not describe a platform", code="tdx.chain_signature"
        ) from None


def _raw(extension: x509.ExtensionType) -> bytes:
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise Malformed("an extension of another kind")
    return extension.value


def _entries(outer: DerReader, prefix: bytes) -> dict[int, bytes]:
    """Read SEQUENCE { SEQUENCE { OID, value } ... }; return each value by its last arc."""
    listed = outer.enter(SEQUENCE)
    outer.end()
    found: dict[int, bytes] = {}
    while listed.more:
        entry = listed.enter(SEQUENCE)
        oid = entry.take(OBJECT_IDENTIFIER).content
        value = entry.any().whole
        entry.end()
        if len(oid) != len(prefix) + 1 or not oid.startswith(prefix) or oid[-1] in found:
            raise Malformed("an entry twice, or under another name")
        if len(found) == _MOST_ENTRIES:
            raise Malformed("too many entries")
        found[oid[-1]] = value
    return found


def _value(entries: dict[int, bytes], number: int, tag: int) -> DerReader:
    """Return a reader at the value of an entry, which must have this tag."""
    reader = DerReader(entries.get(number, b""))
    if reader.next_tag != tag:
        raise Malformed(f"entry {number} is missing or of another type")
    return reader


def _octets(entries: dict[int, bytes], number: int, length: int) -> bytes:
    content = _value(entries, number, OCTET_STRING).take(OCTET_STRING).content
    if len(content) != length:
        raise Malformed(f"entry {number} has another length")
    return content


def _integer(entries: dict[int, bytes], number: int) -> int:
    return DerReader(entries.get(number, b"")).integer()


def _ranged(value: int, most: int) -> int:
    if value > most:
        raise Malformed("a version out of range")
    return value


def _flags(entries: dict[int, bytes]) -> dict[str, bool]:
    if _CONFIGURATION not in entries:
        return {}
    prefix = _PREFIX + bytes([_CONFIGURATION])
    found = _entries(_value(entries, _CONFIGURATION, SEQUENCE), prefix)
    return {
        name: DerReader(found[number]).take(BOOLEAN).content != b"\0"
        for number, name in _FLAGS.items()
        if number in found
    }
