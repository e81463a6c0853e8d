"""Labelled key derivation of HPKE, in its two shapes.

Two-stage (RFC 9180 section 4), HKDF over SHA-2:

    LabeledExtract(salt, label, ikm) = Extract(salt, "HPKE-v1" || suite || label || ikm)
    LabeledExpand(prk, label, info, L) =
        Expand(prk, I2OSP(L, 2) || "HPKE-v1" || suite || label || info, L)

Single-stage (draft-ietf-hpke-pq), SHAKE256: one call absorbs everything. It is here
for the published vectors; the product's suite uses HKDF-SHA256.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from confide.errors import KeyConfigError
from confide.wire.suites import KDF_HKDF_SHA256, KDF_HKDF_SHA384, KDF_HKDF_SHA512, KDF_SHAKE256

__all__ = [
    "expand",
    "extract",
    "is_single_stage",
    "labeled_derive",
    "labeled_expand",
    "labeled_extract",
    "length_prefixed",
]

_VERSION = b"HPKE-v1"
_HASHES: dict[int, HashAlgorithm] = {
    KDF_HKDF_SHA256: SHA256(),
    KDF_HKDF_SHA384: SHA384(),
    KDF_HKDF_SHA512: SHA512(),
}


def is_single_stage(kdf_id: int) -> bool:
    """Say whether a KDF derives in one step."""
    return kdf_id == KDF_SHAKE256


def _hash(kdf_id: int) -> HashAlgorithm:
    try:
        return _HASHES[kdf_id]
    except KeyError:
        raise KeyConfigError(f"KDF 0x{kdf_id:04x} is not a two-stage KDF we know") from None


def extract(kdf_id: int, salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract (RFC 5869): Nh bytes."""
    return HKDF.extract(_hash(kdf_id), salt, ikm)


def expand(kdf_id: int, prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869): `length` bytes, at most 255 * Nh."""
    return HKDFExpand(_hash(kdf_id), length, info).derive(prk)


def labeled_extract(kdf_id: int, suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """LabeledExtract of RFC 9180 section 4: Nh bytes."""
    return extract(kdf_id, salt, _VERSION + suite_id + label + ikm)


def labeled_expand(
    kdf_id: int, suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int
) -> bytes:
    """LabeledExpand of RFC 9180 section 4: `length` bytes."""
    labeled_info = length.to_bytes(2, "big") + _VERSION + suite_id + label + info
    return expand(kdf_id, prk, labeled_info, length)


def length_prefixed(value: bytes) -> bytes:
    """I2OSP(len(value), 2) || value."""
    return len(value).to_bytes(2, "big") + value


def labeled_derive(
    kdf_id: int, suite_id: bytes, ikm: bytes, label: bytes, context: bytes, length: int
) -> bytes:
    """LabeledDerive of draft-ietf-hpke-pq for a single-stage KDF: `length` bytes.

    Raises:
        KeyConfigError: `kdf_id` is not SHAKE256.
    """
    if kdf_id != KDF_SHAKE256:
        raise KeyConfigError(f"KDF 0x{kdf_id:04x} is not a single-stage KDF we know")
    labeled_ikm = b"".join(
        (ikm, _VERSION, suite_id, length_prefixed(label), length.to_bytes(2, "big"), context)
    )
    return hashlib.shake_256(labeled_ikm).digest(length)
