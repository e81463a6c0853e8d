"""Evidence files come raw, as hex or as base64: tell which, and return the bytes."""

from __future__ import annotations

import base64
import binascii
import re

__all__ = ["binary"]

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
