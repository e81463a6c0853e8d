"""Read the certificates of AMD's key hierarchy: DER, strictly, and nothing else of X.509.

AMD's leaf certificates have serial number 0, which X.509 libraries will stop loading. Every
certificate here has one of two signature algorithms, which differ in one optional field, so
a small reader that accepts exactly those is easier to trust than a general one.

Source: AMD publication 57230 (VCEK certificate and KDS interface), section 3; RFC 5280.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA384

from confide.attest.der import (
    BIT_STRING,
    BOOLEAN,
    CONTEXT_0,
    CONTEXT_3,
    GENERALIZED_TIME,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    UTC_TIME,
    DerReader,
    Malformed,
)
from confide.errors import EndorsementError

__all__ = [
    "MAX_CERTIFICATE",
    "PSS_ALGORITHMS",
    "AmdCertificate",
    "der_blocks",
    "pss_signed_by",
    "read_bits",
    "read_extensions",
    "read_time",
]

MAX_CERTIFICATE: Final = 8 * 1024
"""Largest certificate that is read, in bytes. AMD's are under 1,700."""

_SALT: Final = 48
_PSS = bytes.fromhex("06092a864886f70d01010a")
_SHA384 = bytes.fromhex("300d06096086480165030402020500")
_MGF1 = bytes.fromhex("06092a864886f70d010108")
_SHA384_MGF1_SALT48 = (
    b"\xa0\x0f" + _SHA384 + b"\xa1\x1c\x30\x1a" + _MGF1 + _SHA384 + b"\xa2\x03\x02\x01\x30"
)
_TRAILER = bytes.fromhex("a303020101")
PSS_ALGORITHMS: Final = frozenset(
    {
        b"\x30\x41" + _PSS + b"\x30\x34" + _SHA384_MGF1_SALT48,
        b"\x30\x46" + _PSS + b"\x30\x39" + _SHA384_MGF1_SALT48 + _TRAILER,
    }
)
"""RSASSA-PSS with SHA-384 and a salt of 48 bytes, with the trailer field left out and written."""

_RSA: Final = bytes.fromhex("300d06092a864886f70d0101010500")
_P384: Final = bytes.fromhex("301006072a8648ce3d020106052b81040022")
_RSA_BITS: Final = 4096
_RSA_EXPONENT: Final = 65537

_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_UNDERSTOOD: Final = frozenset({_BASIC_CONSTRAINTS, "2.5.29.15"})
"""Extensions that may be critical: whether it may sign, and what its key is for."""

_COMMON_NAME: Final = bytes.fromhex("550403")
_PEM: Final = re.compile(
    rb"-----BEGIN (CERTIFICATE|X509 CRL)-----([A-Za-z0-9+/=\s]*)-----END \1-----"
)
_MAX_BLOCKS: Final = 8


@dataclass(frozen=True)
class AmdCertificate:
    """One certificate. Nothing of it is believed before `signed_by` was asked.

    Attributes:
        der: The certificate.
        tbs: What the signature covers.
        signature: RSASSA-PSS signature.
        serial: Serial number.
        issuer: DER of the issuer's name.
        subject: DER of the subject's name.
        common_name: The subject's CN.
        not_before: First instant of validity.
        not_after: Last instant of validity.
        public_key: RSA of an authority, P-384 of a leaf.
        extensions: DER values by dotted name.
    """

    der: bytes = field(repr=False)
    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    serial: int
    issuer: bytes = field(repr=False)
    subject: bytes = field(repr=False)
    common_name: str
    not_before: datetime
    not_after: datetime
    public_key: RSAPublicKey | EllipticCurvePublicKey = field(repr=False)
    extensions: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, der: bytes) -> AmdCertificate:
        """Read a certificate from anyone.

        Args:
            der: At most 8 KiB, without anything after the certificate.

        Raises:
            EndorsementError: snp.chain_signature: not such a certificate, so not signed
                by AMD. No other exception.
        """
        try:
            return _parse(der)
        except ValueError as error:
            raise EndorsementError(
                f"a certificate is not one of AMD's form: {error}", code="snp.chain_signature"
            ) from None

    @property
    def sha256(self) -> bytes:
        """Fingerprint of the certificate, 32 bytes."""
        return hashlib.sha256(self.der).digest()

    @property
    def may_sign(self) -> bool:
        """Whether it is an authority's: basic constraints say so and the key is RSA."""
        value = self.extensions.get(_BASIC_CONSTRAINTS, b"")
        return value[2:5] == b"\x01\x01\xff" and isinstance(self.public_key, RSAPublicKey)

    def signed_by(self, issuer: AmdCertificate) -> bool:
        """Say whether the issuer is an authority whose name and key fit."""
        return (
            issuer.may_sign
            and self.issuer == issuer.subject
            and pss_signed_by(issuer.public_key, self.signature, self.tbs)
        )


def pss_signed_by(
    key: RSAPublicKey | EllipticCurvePublicKey, signature: bytes, content: bytes
) -> bool:
    """Say whether an authority signed: RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48."""
    if not isinstance(key, RSAPublicKey):
        return False
    try:
        key.verify(signature, content, padding.PSS(padding.MGF1(SHA384()), _SALT), SHA384())
    except InvalidSignature:
        return False
    return True


def der_blocks(content: bytes) -> list[bytes]:
    """Return the DER of every PEM block, or the content itself if it is not PEM.

    Raises:
        EndorsementError: snp.chain_signature: bad base64, no block, or more than 8.
    """
    if b"-----BEGIN" not in content:
        return [content]
    found = [block[2] for block in _PEM.finditer(content)]
    if not 1 <= len(found) <= _MAX_BLOCKS:
        raise EndorsementError(
            f"the PEM text holds {len(found)} blocks, not 1 to {_MAX_BLOCKS}",
            code="snp.chain_signature",
        )
    try:
        return [base64.b64decode(b"".join(text.split()), validate=True) for text in found]
    except binascii.Error:
        raise EndorsementError("a PEM block is not base64", code="snp.chain_signature") from None


def _parse(der: bytes) -> AmdCertificate:
    if len(der) > MAX_CERTIFICATE:
        raise Malformed(f"larger than {MAX_CERTIFICATE} bytes")
    outer = DerReader(der)
    whole = outer.enter(SEQUENCE)
    outer.end()
    tbs = whole.take(SEQUENCE)
    algorithm = whole.take(SEQUENCE).whole
    signature = read_bits(whole)
    whole.end()
    inside = DerReader(tbs.content)
    if inside.enter(CONTEXT_0).integer() != 2:
        raise Malformed("not version 3")
    serial = inside.integer()
    if inside.take(SEQUENCE).whole != algorithm or algorithm not in PSS_ALGORITHMS:
        raise Malformed("not signed with RSASSA-PSS, SHA-384 and a salt of 48 bytes")
    issuer = inside.take(SEQUENCE).whole
    validity = inside.enter(SEQUENCE)
    not_before, not_after = read_time(validity), read_time(validity)
    validity.end()
    subject = inside.take(SEQUENCE)
    key = _public_key(inside.enter(SEQUENCE))
    extensions = read_extensions(inside.enter(CONTEXT_3), understood=_UNDERSTOOD)
    inside.end()
    return AmdCertificate(
        der=bytes(der),
        tbs=tbs.whole,
        signature=signature,
        serial=serial,
        issuer=issuer,
        subject=subject.whole,
        common_name=_common_name(subject.content),
        not_before=not_before,
        not_after=not_after,
        public_key=key,
        extensions=extensions,
    )


def read_bits(reader: DerReader) -> bytes:
    """Read a BIT STRING of whole bytes.

    Raises:
        Malformed: Empty, or of a broken byte.
    """
    content = reader.take(BIT_STRING).content
    if not content or content[0] != 0:
        raise Malformed("a bit string of a broken byte")
    return content[1:]


def read_time(reader: DerReader) -> datetime:
    """Read a UTCTime or GeneralizedTime in UTC, with seconds (RFC 5280 section 4.1.2.5).

    Raises:
        ValueError: Of another form, or no time of the calendar.
    """
    element = reader.take(UTC_TIME, GENERALIZED_TIME)
    digits = element.content[:-1]
    width = 2 if element.tag == UTC_TIME else 4
    if element.content[-1:] != b"Z" or len(digits) != width + 10 or not digits.isdigit():
        raise Malformed("a time of another form")
    year = int(digits[:width])
    if width == 2:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = (
        int(digits[at : at + 2]) for at in range(width, width + 10, 2)
    )
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _public_key(info: DerReader) -> RSAPublicKey | EllipticCurvePublicKey:
    """Read exactly the two kinds of key there are, so that no other code path is reached."""
    algorithm = info.take(SEQUENCE).whole
    bits = read_bits(info)
    info.end()
    if algorithm == _P384:
        return EllipticCurvePublicKey.from_encoded_point(SECP384R1(), bits)
    if algorithm != _RSA:
        raise Malformed("the key is neither RSA nor P-384")
    outer = DerReader(bits)
    numbers = outer.enter(SEQUENCE)
    outer.end()
    modulus = int.from_bytes(numbers.take(INTEGER).content, "big", signed=True)
    exponent = numbers.integer()
    numbers.end()
    if modulus < 0 or modulus.bit_length() != _RSA_BITS or exponent != _RSA_EXPONENT:
        raise Malformed("the key is not RSA-4096 with the exponent 65537")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _common_name(name: bytes) -> str:
    reader, found = DerReader(name), []
    while reader.more:
        pair = DerReader(reader.take(0x31).content).enter(SEQUENCE)
        kind = pair.take(OBJECT_IDENTIFIER).content
        value = pair.any()
        if kind == _COMMON_NAME:
            found.append(value.content.decode("ascii"))
    if len(found) != 1:
        raise Malformed("not one common name")
    return found[0]


def read_extensions(reader: DerReader, *, understood: frozenset[str]) -> Mapping[str, bytes]:
    """Read extensions (RFC 5280 section 4.1.2.9).

    Args:
        reader: Inside the tag that holds them.
        understood: Those that may be critical.

    Returns:
        Values by dotted name.

    Raises:
        Malformed: One is there twice, or is critical and not understood.
    """
    listed = reader.enter(SEQUENCE)
    reader.end()
    found: dict[str, bytes] = {}
    while listed.more:
        one = listed.enter(SEQUENCE)
        name = _dotted(one.take(OBJECT_IDENTIFIER).content)
        critical = one.next_tag == BOOLEAN and one.take(BOOLEAN).content != b"\0"
        value = one.take(OCTET_STRING).content
        one.end()
        if name in found:
            raise Malformed(f"extension {name} is there twice")
        if critical and name not in understood:
            raise Malformed(f"extension {name} is critical and not known here")
        found[name] = value
    return found


def _dotted(content: bytes) -> str:
    numbers, current = [], 0
    for byte in content:
        current = current << 7 | byte & 0x7F
        if current >= 1 << 64:
            raise Malformed("an object identifier that large")
        if byte < 0x80:
            numbers.append(current)
            current = 0
    if not numbers or content[-1] >= 0x80:
        raise Malformed("an object identifier that is cut off")
    first = min(numbers[0] // 40, 2)
    return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:]))
