"""One secret per domain, so that no two domains share a prompt cache.

A prefix cache answers faster when someone asked the same before, and says so to anyone who
can measure time. Backends that can, mix this secret into their cache key (vLLM's
``cache_salt``); the others use it to choose a slot that no other domain gets. The secrets
are derived from bytes that are born with the process and never leave it, so neither a
client nor the operator can guess or repeat them.

Source: protocol.md section 6.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["ISOLATION_LENGTH", "IsolationSecrets"]

ISOLATION_LENGTH = 32
"""Length of a domain's secret, in bytes."""

_INFO = b"confide/prefix-isolation/v1\0"


class IsolationSecrets:
    """Derives domain secrets from one boot secret."""

    def __init__(self) -> None:
        self._boot_secret = secrets.token_bytes(32)

    def __repr__(self) -> str:
        return "IsolationSecrets()"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("isolation secrets stay in this process")

    def secret_for(self, domain: str) -> bytes:
        """Return the 32-byte secret of a domain; the same one until the enclave restarts."""
        info = _INFO + domain.encode("utf-8")
        return HKDF(SHA256(), ISOLATION_LENGTH, salt=None, info=info).derive(self._boot_secret)
