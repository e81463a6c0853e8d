"""DHKEM(X25519, HKDF-SHA256), RFC 9180 section 4.1: classical, never offered.

The product seals to X-Wing keys only. This KEM exists to recompute the vectors of
RFC 9180, RFC 9458 and chunked OHTTP, which were published with it, and recorded
exchanges of other implementations.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from confide.crypto.kdf import labeled_expand, labeled_extract
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeyConfigError, OpenError
from confide.wire.suites import KDF_HKDF_SHA256, KEM_X25519

__all__ = ["PrivateKey", "encapsulate"]

_SUITE_ID = b"KEM" + KEM_X25519.to_bytes(2, "big")
_LENGTH = 32


class PrivateKey:
    """A decapsulation key of the classical KEM."""

    __slots__ = ("_private", "_public_key")

    kem_id = KEM_X25519

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self._public_key = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a new key from the library's random generator."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """Take a 32-byte X25519 scalar. For published vectors and tests only.

        Raises:
            ValueError: Another length.
        """
        return cls(X25519PrivateKey.from_private_bytes(seed))

    @property
    def public_key(self) -> bytes:
        """The 32-byte public key."""
        return self._public_key

    def decapsulate(self, encapsulated_key: bytes) -> SecretBytes:
        """Recover the 32-byte shared secret.

        Raises:
            OpenError: Wrong length, or a share of low order.
        """
        try:
            dh = self._private.exchange(X25519PublicKey.from_public_bytes(encapsulated_key))
        except ValueError:
            raise OpenError from None
        return _extract_and_expand(dh, encapsulated_key + self._public_key)

    def __repr__(self) -> str:
        return "<X25519 PrivateKey>"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a private key is not pickled or copied")


def encapsulate(
    public_key: bytes, *, ephemeral: X25519PrivateKey | None = None
) -> tuple[bytes, SecretBytes]:
    """Make a shared secret for the holder of a 32-byte public key.

    Args:
        public_key: 32 bytes.
        ephemeral: The sender's key of a published vector; a new one otherwise.

    Raises:
        KeyConfigError: Wrong length, or a point of low order.
    """
    ephemeral = ephemeral or X25519PrivateKey.generate()
    try:
        dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:
        raise KeyConfigError("the public key is not a valid X25519 key") from None
    encapsulated_key = ephemeral.public_key().public_bytes_raw()
    return encapsulated_key, _extract_and_expand(dh, encapsulated_key + public_key)


def _extract_and_expand(dh: bytes, kem_context: bytes) -> SecretBytes:
    prk = labeled_extract(KDF_HKDF_SHA256, _SUITE_ID, b"", b"eae_prk", dh)
    return SecretBytes(
        labeled_expand(KDF_HKDF_SHA256, _SUITE_ID, prk, b"shared_secret", kem_context, _LENGTH)
    )
