r"""Tie a key document to the evidence that vouches for it, in both directions.

The enclave puts `report_data` into its report; the verifier computes the same value and
compares. Without this step genuine evidence of one enclave could vouch for the key of
another. The GPU's nonce comes from the key document, and the digest of what the GPU
answered goes into the CPU's report, so neither half can be taken from another machine.

LP(x) is a 32-bit big-endian length, then x (spec/protocol.md, key document section):

    gpu_nonce   = SHA-256("confide/gpu-nonce/v1\0"    || LP(SHA-256(document)) || LP(client_nonce))
    gpu_digest  = SHA-256("confide/gpu-evidence/v1\0" || u32 n || LP(SHA-256(report_1)) ...)
    report_data = SHA-512("confide/report-data/v1\0"  || LP(SHA-256(document)) || LP(client_nonce)
                                                      || LP(gpu_digest) || LP(manifest_sha256))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["NONCE_LENGTH", "REPORT_DATA_LENGTH", "gpu_digest", "gpu_nonce", "report_data"]

NONCE_LENGTH = 32
REPORT_DATA_LENGTH = 64

_DIGEST_LENGTH = 32
_GPU_NONCE = b"confide/gpu-nonce/v1\0"
_GPU_EVIDENCE = b"confide/gpu-evidence/v1\0"
_REPORT_DATA = b"confide/report-data/v1\0"


def _prefixed(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _check(document_sha256: bytes, client_nonce: bytes) -> None:
    if len(document_sha256) != _DIGEST_LENGTH:
        raise ValueError(f"document_sha256 must be 32 bytes, not {len(document_sha256)}")
    if len(client_nonce) not in (0, NONCE_LENGTH):
        raise ValueError(f"client_nonce must be 32 bytes or empty, not {len(client_nonce)}")


def gpu_nonce(document_sha256: bytes, client_nonce: bytes) -> bytes:
    """Compute the nonce the enclave hands to its GPUs.

    Args:
        document_sha256: SHA-256 of the key document exactly as served, 32 bytes.
        client_nonce: 32 bytes of the client, or empty in the cached form.

    Returns:
        32 bytes.

    Raises:
        ValueError: A length is wrong.
    """
    _check(document_sha256, client_nonce)
    return hashlib.sha256(
        _GPU_NONCE + _prefixed(document_sha256) + _prefixed(client_nonce)
    ).digest()


def gpu_digest(reports: Sequence[bytes]) -> bytes:
    """Compute the digest of all GPU reports, in order. No GPU has a digest too.

    Args:
        reports: Each report exactly as the GPU gave it.

    Returns:
        32 bytes.
    """
    listed = b"".join(_prefixed(hashlib.sha256(report).digest()) for report in reports)
    return hashlib.sha256(_GPU_EVIDENCE + len(reports).to_bytes(4, "big") + listed).digest()


def report_data(
    document_sha256: bytes, client_nonce: bytes, gpu_digest: bytes, manifest_sha256: bytes
) -> bytes:
    """Compute the value the enclave must place in its report.

    It is REPORT_DATA of AMD SEV-SNP and REPORTDATA of Intel TDX.

    Args:
        document_sha256: SHA-256 of the key document exactly as served, 32 bytes.
        client_nonce: 32 bytes of the client, or empty in the cached form.
        gpu_digest: What `gpu_digest` returned, 32 bytes.
        manifest_sha256: SHA-256 of the release-and-model manifest, 32 bytes.

    Returns:
        64 bytes.

    Raises:
        ValueError: A length is wrong.
    """
    _check(document_sha256, client_nonce)
    for name, digest in (("gpu_digest", gpu_digest), ("manifest_sha256", manifest_sha256)):
        if len(digest) != _DIGEST_LENGTH:
            raise ValueError(f"{name} must be 32 bytes, not {len(digest)}")
    return hashlib.sha512(
        _REPORT_DATA
        + _prefixed(document_sha256)
        + _prefixed(client_nonce)
        + _prefixed(gpu_digest)
        + _prefixed(manifest_sha256)
    ).digest()
