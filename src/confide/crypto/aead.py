"""Make the AEAD a suite names, from the library's classes."""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from confide.errors import KeyConfigError
from confide.wire.suites import AEAD_AES128GCM, AEAD_AES256GCM, AEAD_CHACHA20POLY1305

__all__ = ["Aead", "make_aead"]


class Aead(Protocol):
    """One AEAD under one key; the classes of `cryptography` have this shape."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Seal; the 16-byte tag is at the end."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Open; raises `cryptography.exceptions.InvalidTag`."""


def make_aead(aead_id: int, key: bytes) -> Aead:
    """Return the AEAD with this identifier.

    Args:
        aead_id: HPKE AEAD identifier.
        key: Nk bytes.

    Raises:
        KeyConfigError: The identifier names no cipher that seals.
        ValueError: The key has another length.
    """
    if aead_id in (AEAD_AES128GCM, AEAD_AES256GCM):
        if len(key) != (16 if aead_id == AEAD_AES128GCM else 32):
            raise ValueError("the key has the wrong length")
        return AESGCM(key)
    if aead_id == AEAD_CHACHA20POLY1305:
        return ChaCha20Poly1305(key)
    raise KeyConfigError(f"AEAD 0x{aead_id:04x} does not seal messages")
