"""Identifiers and lengths of the HPKE suites, and the one suite we offer.

The numbers are the IANA HPKE registry (RFC 9180 section 7; KEM 0x647a is X-Wing,
draft-connolly-cfrg-xwing-kem). The product seals with `XWING_SUITE` only and
negotiates nothing; the other identifiers exist so that published vectors and
recorded exchanges of other implementations can be recomputed.

There is no cipher here: the blind gateway may import this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from confide.errors import KeyConfigError

__all__ = [
    "AEAD_AES128GCM",
    "AEAD_AES256GCM",
    "AEAD_CHACHA20POLY1305",
    "AEAD_EXPORT_ONLY",
    "KDF_HKDF_SHA256",
    "KDF_HKDF_SHA384",
    "KDF_HKDF_SHA512",
    "KDF_SHAKE256",
    "KEM_X25519",
    "KEM_XWING",
    "XWING_SUITE",
    "KemLengths",
    "Suite",
    "kem_lengths",
    "suite_for",
]

KEM_X25519 = 0x0020  # DHKEM(X25519, HKDF-SHA256)
KEM_XWING = 0x647A  # MLKEM768-X25519

KDF_HKDF_SHA256 = 0x0001
KDF_HKDF_SHA384 = 0x0002
KDF_HKDF_SHA512 = 0x0003
KDF_SHAKE256 = 0x0011  # single-stage, draft-ietf-hpke-pq

AEAD_AES128GCM = 0x0001
AEAD_AES256GCM = 0x0002
AEAD_CHACHA20POLY1305 = 0x0003
AEAD_EXPORT_ONLY = 0xFFFF


@dataclass(frozen=True, slots=True)
class KemLengths:
    """Lengths in bytes of one KEM: shared secret, encapsulated key, public key."""

    n_secret: int
    n_enc: int
    n_pk: int


_KEMS = {KEM_X25519: KemLengths(32, 32, 32), KEM_XWING: KemLengths(32, 1120, 1216)}
_NH = {KDF_HKDF_SHA256: 32, KDF_HKDF_SHA384: 48, KDF_HKDF_SHA512: 64, KDF_SHAKE256: 64}
_NK_NN = {
    AEAD_AES128GCM: (16, 12),
    AEAD_AES256GCM: (32, 12),
    AEAD_CHACHA20POLY1305: (32, 12),
    AEAD_EXPORT_ONLY: (0, 0),
}


@dataclass(frozen=True, slots=True)
class Suite:
    """One KEM, KDF and AEAD with their lengths in bytes (letters of RFC 9180)."""

    kem_id: int
    kdf_id: int
    aead_id: int
    n_secret: int = 32  # Nsecret
    n_enc: int = 1120  # Nenc
    n_pk: int = 1216  # Npk
    nk: int = 32  # Nk
    nn: int = 12  # Nn
    nh: int = 32  # Nh

    @property
    def response_nonce_length(self) -> int:
        """Length of an OHTTP response nonce: max(Nn, Nk) (RFC 9458 section 4.4)."""
        return max(self.nn, self.nk)


XWING_SUITE = Suite(KEM_XWING, KDF_HKDF_SHA256, AEAD_AES256GCM)


def kem_lengths(kem_id: int) -> KemLengths:
    """Look up a KEM.

    Raises:
        KeyConfigError: The identifier is not one we know.
    """
    try:
        return _KEMS[kem_id]
    except KeyError:
        raise KeyConfigError(f"unknown KEM 0x{kem_id:04x}") from None


def suite_for(kem_id: int, kdf_id: int, aead_id: int) -> Suite:
    """Build the suite with these identifiers.

    Raises:
        KeyConfigError: An identifier is not one we know.
    """
    kem = kem_lengths(kem_id)
    if kdf_id not in _NH or aead_id not in _NK_NN:
        raise KeyConfigError(f"unknown suite KDF 0x{kdf_id:04x}, AEAD 0x{aead_id:04x}")
    nk, nn = _NK_NN[aead_id]
    return Suite(kem_id, kdf_id, aead_id, kem.n_secret, kem.n_enc, kem.n_pk, nk, nn, _NH[kdf_id])
