"""A KEK as text, and its name: 32 bytes in base64 or hex, a fingerprint of 16 digits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from typing import Final

from confide.crypto.secret_bytes import SecretBytes
from confide.errors import ConfigError

__all__ = ["KEK_LENGTH", "encode_kek", "fingerprint", "new_kek", "parse_kek"]

KEK_LENGTH: Final = 32
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_HINT: Final = "restore it from its backup: confide keys restore BACKUP.age"
_LABEL: Final = b"confide/kek-fingerprint/v1\0"


def new_kek() -> SecretBytes:
    """Make 32 random bytes."""
    return SecretBytes(secrets.token_bytes(KEK_LENGTH))


def parse_kek(text: str, *, name: str = "the client KEK") -> SecretBytes:
    """Read a KEK as people write it.

    Args:
        text: 64 hexadecimal digits, or base64 (standard or URL alphabet, padding optional).
            White space around it is ignored.
        name: What to call it in the error.

    Raises:
        ConfigError: It is neither, or not 32 bytes. The message does not quote it.
    """
    text = text.strip()
    if _HEX.fullmatch(text):
        return SecretBytes(bytes.fromhex(text))
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{name} is neither hexadecimal nor base64", hint=_HINT) from None
    if len(raw) != KEK_LENGTH:
        raise ConfigError(
            f"{name} must be {KEK_LENGTH} bytes in base64 or hex, not {len(raw)}", hint=_HINT
        )
    return SecretBytes(raw)


def encode_kek(kek: SecretBytes) -> str:
    """Write a KEK as base64, 44 characters."""
    return base64.b64encode(kek.reveal()).decode()


def fingerprint(kek: SecretBytes) -> str:
    """Name a KEK without giving anything of it away: 16 hexadecimal digits.

    A hash of 32 random bytes cannot be turned back; the label keeps it apart from any
    other use of the same bytes.
    """
    return hashlib.sha256(_LABEL + kek.reveal()).hexdigest()[:16]
