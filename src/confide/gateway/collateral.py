"""Hand out the endorsements in a directory, for clients and enclaves without a network.

`GET /.well-known/confide/collateral`. The operator fills the directory with `confide
endorsements fetch`; the gateway reads it again when its index changes. What is handed out is
vendor-signed data about processors that clients may challenge anyway. The gateway vouches for
nothing in it; clients check each signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confide.attest.collateral import EndorsementCache, encode_bundle
from confide.attest.collateral.bundle import MAX_BUNDLED
from confide.attest.endorsements import Endorsement
from confide.errors import RateLimited
from confide.gateway.limits import AddressLimiter
from confide.telemetry.logs import event

__all__ = ["COLLATERAL_PATH", "MAX_STAPLED", "CollateralRoute"]

COLLATERAL_PATH: Final = "/.well-known/confide/collateral"
MAX_STAPLED: Final = 1024 * 1024
"""Most bytes of content that are handed out; the newest come first."""


class CollateralRoute:
    """The route and what it last read.

    Args:
        folder: Directory of endorsements; it may be missing.
        monotonic: Seconds.
        per_minute: Answers per minute and client address.
        total_per_minute: Answers per minute altogether.
    """

    def __init__(
        self,
        folder: Path,
        *,
        monotonic: Callable[[], float],
        per_minute: int,
        total_per_minute: int,
    ) -> None:
        self._cache = EndorsementCache(folder)
        self._monotonic = monotonic
        self._limiter = AddressLimiter(per_minute, total_per_minute)
        self._reading = asyncio.Lock()
        self._known: tuple[tuple[int, int, int] | None, bytes] | None = None

    async def content(self, address: str) -> bytes:
        """Return the document.

        Args:
            address: Client address, for the limit only.

        Raises:
            RateLimited: Too many answers.
        """
        denied = self._limiter.admit(address, self._monotonic())
        if denied is not None:
            raise RateLimited("too many requests", retry_after=denied.retry_after_s)
        async with self._reading:
            index = self._index()
            if self._known is None or self._known[0] != index:
                self._known = (index, await asyncio.to_thread(self._read))
            return self._known[1]

    def _index(self) -> tuple[int, int, int] | None:
        try:
            found = (self._cache.folder / "index.json").stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> bytes:
        newest = list(dict.fromkeys(line.key for line in reversed(self._cache.entries())))
        kept: list[Endorsement] = []
        size = 0
        for found in (found for key in newest for found in self._cache.find(key)):
            size += len(found.content)
            if size > MAX_STAPLED or len(kept) == MAX_BUNDLED:
                event("collateral-left-out", level="warning", count=len(kept), limit=MAX_STAPLED)
                break
            kept.append(found)
        return encode_bundle(kept)
