"""Evidence files come raw, as hex or as base64: tell which, and return the bytes."""

from __future__ import annotations

import base64
import binascii
import re
import ssl

from confide.attest.der import DerReader, Malformed

__all__ = ["binary", "der_or_pem", "pem"]

_HEX = re.compile(rb"\s*(0x)?([0-9a-fA-F]{2}\s*)+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=\s-]+")


def binary(content: bytes) -> bytes:
    """Return the bytes that the content stands for; raw bytes stay as they are."""
    if _HEX.fullmatch(content):
        return bytes.fromhex(content.decode("ascii").strip().removeprefix("0x"))
    if content and _BASE64.fullmatch(content):
        text = b"".join(content.split()).translate(bytes.maketrans(b"-_", b"+/"))
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            return content
    return content


def der_or_pem(content: bytes) -> bytes:
    """Return PEM as it is, and anything else as the bytes it stands for."""
    return content if b"-----BEGIN" in content else binary(content)


def pem(content: bytes) -> bytes:
    """Return certificates as PEM: given so, or as one or several in DER, one after the other."""
    content = der_or_pem(content)
    if b"-----BEGIN" in content:
        return content.rstrip() + b"\n"
    reader, found = DerReader(content), []
    try:
        while reader.more:
            found.append(ssl.DER_cert_to_PEM_cert(reader.any().whole))
    except Malformed:
        return content  # for the product to refuse
    return "".join(found).encode("ascii")
