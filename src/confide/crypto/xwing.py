"""X-Wing, the hybrid KEM MLKEM768-X25519 (draft-connolly-cfrg-xwing-kem, KEM 0x647a).

    ss = SHA3-256(ssM || ssX || ctX || pkX || label)     label = 5c2e2f2f5e5c, last

An attacker must break both ML-KEM-768 and X25519. A public key is pkM || pkX
(1184 + 32 bytes), an encapsulated key ctM || ctX (1088 + 32 bytes).

Keys of an enclave are made by `PrivateKey.generate`, which asks the library for
both halves, so their seeds are never Python bytes. `from_seed` is for vectors and
for keys that people keep in files (age identities).
"""

from __future__ import annotations

import functools
import hashlib

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeyConfigError, OpenError
from confide.wire.suites import KEM_XWING

__all__ = [
    "ENCAPSULATED_KEY_LENGTH",
    "PUBLIC_KEY_LENGTH",
    "PrivateKey",
    "check_public_key",
    "encapsulate",
]

PUBLIC_KEY_LENGTH = 1216  # Npk
ENCAPSULATED_KEY_LENGTH = 1120  # Nenc
_PK_M = 1184
_CT_M = 1088
_LABEL = bytes.fromhex("5c2e2f2f5e5c")


class PrivateKey:
    """A decapsulation key. It has no export: it dies with the process."""

    __slots__ = ("_mlkem", "_public_key", "_x25519")

    kem_id = KEM_XWING

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519
        self._public_key = (
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a new key from the library's random generator."""
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """Expand a 32-byte seed, for keys that are kept: age identities, vectors.

        Raises:
            ValueError: Another length.
        """
        if len(seed) != 32:
            raise ValueError("an X-Wing seed is 32 bytes")
        expanded = hashlib.shake_256(seed).digest(96)
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            X25519PrivateKey.from_private_bytes(expanded[64:]),
        )

    @property
    def public_key(self) -> bytes:
        """The 1216-byte public key."""
        return self._public_key

    def decapsulate(self, encapsulated_key: bytes) -> SecretBytes:
        """Recover the shared secret.

        Args:
            encapsulated_key: 1120 bytes.

        Returns:
            32 bytes. A forged ML-KEM half gives another secret (implicit
            rejection), which then opens nothing.

        Raises:
            OpenError: Wrong length, or an X25519 share of low order.
        """
        if len(encapsulated_key) != ENCAPSULATED_KEY_LENGTH:
            raise OpenError
        ct_x = encapsulated_key[_CT_M:]
        try:
            ss_x = self._x25519.exchange(X25519PublicKey.from_public_bytes(ct_x))
            ss_m = self._mlkem.decapsulate(encapsulated_key[:_CT_M])
        except ValueError:
            raise OpenError from None
        return _combine(ss_m, ss_x, ct_x, self._public_key[_PK_M:])

    def __repr__(self) -> str:
        return "<X-Wing PrivateKey>"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a private key is not pickled or copied")


def _combine(ss_m: bytes, ss_x: bytes, ct_x: bytes, pk_x: bytes) -> SecretBytes:
    return SecretBytes(hashlib.sha3_256(b"".join((ss_m, ss_x, ct_x, pk_x, _LABEL))).digest())


@functools.lru_cache(maxsize=64)
def _parse(public_key: bytes) -> tuple[MLKEM768PublicKey, X25519PublicKey]:
    """Parse both halves and refuse a bad one. Cached: public keys repeat."""
    if len(public_key) != PUBLIC_KEY_LENGTH:
        raise KeyConfigError(f"an X-Wing public key is {PUBLIC_KEY_LENGTH} bytes")
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public_key[:_PK_M])
        x25519 = X25519PublicKey.from_public_bytes(public_key[_PK_M:])
        # The library refuses an all-zero result, which is what a low-order point gives.
        X25519PrivateKey.generate().exchange(x25519)
    except ValueError:
        raise KeyConfigError("the public key is not a valid X-Wing key") from None
    return mlkem, x25519


def check_public_key(public_key: bytes) -> None:
    """Refuse a public key nobody should seal to. Call once per key configuration.

    Args:
        public_key: 1216 bytes.

    Raises:
        KeyConfigError: Wrong length, an ML-KEM half with coefficients out of range
            (FIPS 203 section 7.2), or an X25519 half of low order.
    """
    _parse(public_key)


def encapsulate(public_key: bytes) -> tuple[bytes, SecretBytes]:
    """Make a shared secret for the holder of a public key.

    Args:
        public_key: 1216 bytes.

    Returns:
        The encapsulated key (1120 bytes) and the shared secret (32 bytes).

    Raises:
        KeyConfigError: As `check_public_key`.
    """
    mlkem, x25519 = _parse(public_key)
    ss_m, ct_m = mlkem.encapsulate()
    ephemeral = X25519PrivateKey.generate()
    ct_x = ephemeral.public_key().public_bytes_raw()
    shared_secret = _combine(ss_m, ephemeral.exchange(x25519), ct_x, public_key[_PK_M:])
    return ct_m + ct_x, shared_secret
