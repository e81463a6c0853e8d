"""INSECURE. What a simulated root signs."""

from __future__ import annotations

from confide.attest.binding import gpu_digest, report_data

__all__ = ["signed_bytes"]

_LABEL = b"confide/simulated-evidence/v1\0THIS IS NOT HARDWARE\0"


def signed_bytes(document_sha256: bytes, client_nonce: bytes, manifest_sha256: bytes) -> bytes:
    """Return the label and the 64 bytes of report data; never shaped like a report.

    The label keeps a signature from meaning anything in another protocol.
    """
    bound = report_data(document_sha256, client_nonce, gpu_digest(()), manifest_sha256)
    return _LABEL + bound
