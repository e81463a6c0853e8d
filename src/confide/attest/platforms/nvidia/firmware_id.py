"""Compare the firmware a device runs with the firmware its leaf certificate was made for.

The leaf certificate of a device carries the digest of the firmware (FWID) that its key was
derived for. Newer firmware repeats it in opaque field 20 of the report. Two forms occur:
Hopper's extension 2.23.133.5.4.1 holds version, key and one FWID (the composite device id
of RIoT); Blackwell's 2.23.133.5.4.1.1 is DICE TcbInfo with a list of them, unused ones zero.

Source: TCG DICE Attestation Architecture 1.1 section 6.1.1; recorded chains.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cryptography import x509

from confide.errors import EndorsementError

__all__ = ["certified_firmware", "compare_firmware"]

_OIDS: Final = (
    x509.ObjectIdentifier("2.23.133.5.4.1"),
    x509.ObjectIdentifier("2.23.133.5.4.1.1"),
)
_SHA384: Final = bytes.fromhex("608648016503040202")
_LENGTH: Final = 48
_SEQUENCE: Final = 0x30
_OBJECT: Final = 0x06
_OCTETS: Final = 0x04
_FWIDS: Final = 0xA6  # [6] IMPLICIT SEQUENCE OF
_MAX_LENGTH_BYTES: Final = 2


def compare_firmware(leaf: x509.Certificate, reported: bytes | None) -> str:
    """Return "match", or "absent" if report or certificate does not name the firmware.

    Args:
        leaf: The certificate that signed the report; its chain was checked.
        reported: Opaque field 20, or None.

    Raises:
        EndorsementError: nv.fwid: the report names other firmware than the certificate.
    """
    certified = certified_firmware(leaf)
    if not reported or certified is None:
        return "absent"
    if reported in certified:
        return "match"
    raise EndorsementError(
        "the report names other firmware than its certificate was issued for", code="nv.fwid"
    )


def certified_firmware(leaf: x509.Certificate) -> tuple[bytes, ...] | None:
    """Return the SHA-384 firmware digests in a certificate, 48 bytes each; zeros left out.

    Returns:
        The digests, which may be none, or None if there is no such extension.

    Raises:
        EndorsementError: nv.fwid: the extension is malformed.
    """
    values = [
        extension.value.value
        for extension in leaf.extensions
        if extension.oid in _OIDS and isinstance(extension.value, x509.UnrecognizedExtension)
    ]
    if not values:
        return None
    try:
        digests = [digest for value in values for digest in _digests(value)]
    except ValueError as error:
        raise EndorsementError(f"firmware id of the certificate: {error}", code="nv.fwid") from None
    return tuple(digest for digest in digests if any(digest))


def _digests(der: bytes) -> Iterator[bytes]:
    ((tag, content),) = _elements(der)
    if tag != _SEQUENCE:
        raise ValueError("not a sequence")
    for tag, member in _elements(content):
        if tag == _FWIDS:
            for inner, fwid in _elements(member):
                if inner == _SEQUENCE:
                    yield from _digest(fwid)
        elif tag == _SEQUENCE:
            yield from _digest(member)


def _digest(content: bytes) -> Iterator[bytes]:
    """Yield the digest of a FWID: the object identifier of SHA-384, then 48 bytes."""
    members = list(_elements(content))
    if members[:1] == [(_OBJECT, _SHA384)] and len(members) == 2:
        tag, digest = members[1]
        if tag == _OCTETS and len(digest) == _LENGTH:
            yield digest


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER element, one after another.

    Raises:
        ValueError: A length is missing, too long or points past the end.
    """
    position = 0
    while position < len(der):
        header = der[position : position + 2]
        if len(header) < 2:
            raise ValueError("an element without a length")
        tag, length = header
        position += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= _MAX_LENGTH_BYTES or position + count > len(der):
                raise ValueError("an unusable length")
            length = int.from_bytes(der[position : position + count], "big")
            position += count
        if position + length > len(der):
            raise ValueError("an element longer than what holds it")
        yield tag, der[position : position + length]
        position += length
