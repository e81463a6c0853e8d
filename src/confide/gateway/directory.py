"""Serve key documents and forward evidence challenges, byte for byte.

The directory is cached; a challenge is forwarded to the replica it names, because only that
enclave can answer a fresh nonce. Each challenge costs the enclave a quote, so they are limited
per address and in total; they need no API key, because anyone may check an enclave before
asking for one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

from confide.errors import (
    ConfideError,
    GatewayError,
    NoEnclaveAvailable,
    RateLimited,
    RouteNotFound,
)
from confide.gateway.limits import AddressLimiter
from confide.gateway.registry import Enclave, Registry

__all__ = ["EVIDENCE_PATH", "DirectoryRoutes"]

EVIDENCE_PATH: Final = "/.well-known/confide/evidence/"

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NONCE: Final = re.compile(rb"nonce=([0-9A-Fa-f]{64})", re.ASCII)
_MAX_EVIDENCE: Final = 1024 * 1024
_TIMEOUT_S: Final = 30.0  # a GPU report can take seconds
_SETTLE_S: Final = 2.0


class DirectoryRoutes:
    """`GET /.well-known/confide/...`."""

    def __init__(
        self,
        registry: Registry,
        *,
        monotonic: Callable[[], float],
        per_minute: int,
        total_per_minute: int,
    ) -> None:
        """Set the limits of evidence challenges.

        Args:
            registry: The enclaves.
            monotonic: Seconds.
            per_minute: Challenges per minute and client address.
            total_per_minute: Challenges per minute altogether.
        """
        self._registry = registry
        self._monotonic = monotonic
        self._limiter = AddressLimiter(per_minute, total_per_minute)

    async def keys(self) -> bytes:
        """Return the directory, after any refresh that is under way."""
        await self._registry.settled(_SETTLE_S)
        return self._registry.directory()

    async def evidence(self, path: str, query: bytes, address: str) -> bytes:
        """Forward one challenge.

        Args:
            path: Path of the request; its last part is the document's SHA-256 in hexadecimal.
            query: `nonce=` and 64 hexadecimal digits.
            address: Client address, for the limit only.

        Returns:
            The enclave's evidence envelope, unchanged.

        Raises:
            RouteNotFound: No enclave serves this document.
            GatewayError: 400 for a malformed nonce, 502 if the enclave did not answer.
            RateLimited: Too many challenges.
            NoEnclaveAvailable: The enclave cannot be reached.
        """
        document = path[len(EVIDENCE_PATH) :]
        nonce = _NONCE.fullmatch(query)
        if nonce is None:
            raise GatewayError("the nonce is 32 bytes in hexadecimal", status=400, code="bad-nonce")
        enclave = self._find(document)
        denied = self._limiter.admit(address, self._monotonic())
        if denied is not None:
            raise RateLimited("too many evidence challenges", retry_after=denied.retry_after_s)
        target = EVIDENCE_PATH.encode() + document.encode() + b"?nonce=" + nonce[1]
        return await self._fetch(enclave, target)

    def _find(self, document: str) -> Enclave:
        if _DIGEST.fullmatch(document):
            for enclave in self._registry.enclaves:
                if enclave.knows(document):
                    return enclave
        raise RouteNotFound("no enclave of this gateway serves this document")

    async def _fetch(self, enclave: Enclave, target: bytes) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                exchange = await enclave.upstream.open(b"GET", target, (), b"", length=0)
                try:
                    await exchange.head()
                    content = await exchange.read(_MAX_EVIDENCE)
                finally:
                    exchange.close()
        except NoEnclaveAvailable:
            self._registry.unreachable(enclave)
            raise
        except (TimeoutError, ConfideError):
            raise GatewayError(
                "the enclave did not answer the challenge", status=502, code="enclave-lost"
            ) from None
        if exchange.status == 404:
            self._registry.refresh(enclave)
            raise RouteNotFound("the enclave no longer serves this document")
        if exchange.status != 200:
            raise GatewayError(
                "the enclave refused the challenge", status=502, code="enclave-refused"
            )
        return content
