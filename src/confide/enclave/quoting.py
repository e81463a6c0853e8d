"""Evidence for the live key documents: ready-made without a nonce, fresh with one.

The cached form (empty nonce) is collected once per document and again every hour; it lets
a gateway show evidence without costing a quote. The challenged form is collected for one
client's 32-byte nonce and kept for nobody. A processor makes few quotes a second, so:

* one collection runs at a time, in a thread, because it blocks;
* callers who ask the same thing at the same time share one collection;
* a flood is refused with `RateLimited` instead of being queued without end.

Cached evidence never answers a challenge: the two are different keys of the table.

Source: protocol.md section 3; attestation.md section 6.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from confide.attest.collector import Collector
from confide.errors import RateLimited
from confide.wire.key_document import KeyDocument

__all__ = ["NONCE_LENGTH", "Quoting"]

NONCE_LENGTH = 32
"""Length of a client's challenge, in bytes."""

_CACHED_FOR_S = 3_600
_NO_NONCE = b""


class Quoting:
    """Collects evidence on demand. Belongs to one event loop.

    Args:
        collector: Talks to the platform; its `collect` may block.
        manifest_sha256: SHA-256 of the manifest, 32 bytes.
        now: Unix time in seconds.
        per_second: Challenges that start per second, sustained.
        burst: Challenges that may start at once.
        monotonic: Seconds that only grow, for the rate.
    """

    def __init__(
        self,
        collector: Collector,
        manifest_sha256: bytes,
        now: Callable[[], float],
        *,
        per_second: float = 20,
        burst: int = 100,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collector = collector
        self._manifest_sha256 = manifest_sha256
        self._now = now
        self._monotonic = monotonic
        self._interval_s = 1 / per_second
        self._burst = burst
        self._free_at = 0.0  # the rate's virtual clock
        self._one_at_a_time = asyncio.Lock()
        self._running: dict[tuple[bytes, bytes], asyncio.Task[bytes]] = {}
        self._cached: dict[bytes, tuple[float, bytes]] = {}

    async def cached(self, document: KeyDocument) -> bytes:
        """Return evidence without a nonce, at most an hour old.

        Raises:
            AttestationError: The platform gave none.
        """
        collected_at, evidence = self._cached.get(document.sha256, (0.0, b""))
        age_s = self._now() - collected_at
        if evidence and 0 <= age_s < _CACHED_FOR_S:
            return evidence
        evidence = await self._shared(document, _NO_NONCE)
        self._cached[document.sha256] = (self._now(), evidence)
        return evidence

    async def challenged(self, document: KeyDocument, client_nonce: bytes) -> bytes:
        """Collect evidence for one client's challenge.

        Args:
            document: A live key document.
            client_nonce: 32 bytes of the client's choice.

        Raises:
            RateLimited: Too many challenges.
            AttestationError: The platform gave no evidence.
            ValueError: The nonce is not 32 bytes.
        """
        if len(client_nonce) != NONCE_LENGTH:
            raise ValueError(f"the nonce must be {NONCE_LENGTH} bytes, not {len(client_nonce)}")
        return await self._shared(document, client_nonce)

    def forget_all_but(self, documents: tuple[KeyDocument, ...]) -> None:
        """Drop cached evidence of documents that are no longer live."""
        live = {document.sha256 for document in documents}
        for sha256 in [sha256 for sha256 in self._cached if sha256 not in live]:
            del self._cached[sha256]

    async def _shared(self, document: KeyDocument, nonce: bytes) -> bytes:
        key = (document.sha256, nonce)
        task = self._running.get(key)
        if task is None:
            if nonce:
                self._take_from_rate()
            task = asyncio.ensure_future(self._collect(document, nonce))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        # One caller who gives up must not take the evidence from the others.
        return await asyncio.shield(task)

    def _take_from_rate(self) -> None:
        at = self._monotonic()
        free_at = max(self._free_at, at) + self._interval_s
        if free_at - at > (self._burst + 0.5) * self._interval_s:
            raise RateLimited("too many challenges at once", retry_after=1.0)
        self._free_at = free_at

    async def _collect(self, document: KeyDocument, nonce: bytes) -> bytes:
        async with self._one_at_a_time:
            return await asyncio.to_thread(
                self._collector.collect,
                document=document.raw,
                client_nonce=nonce,
                manifest_sha256=self._manifest_sha256,
                now=self._now(),
            )
