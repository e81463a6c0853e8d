"""Signed usage statements, chained, kept until the gateway has them.

Every request that asked for a model leaves exactly one statement, however it ended. Each
names the SHA-256 of the one before it and is signed by the usage key that the attested key
document lists, so the gateway can neither lose, reorder nor invent one unseen. The customer
gets the same text inside the seal and can add it up.

Memory is bounded. When the gateway has not come for so long that the ledger is full, new
requests are refused: a statement is never dropped. Its place is reserved before the request
starts (`open_line`), so that it is there when the request ends.

The ledger lives in memory: what the gateway has not fetched is lost when the process dies.

Source: protocol.md section 5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from confide.enclave.inference.backend import Operation, Usage
from confide.errors import ModelUnavailable
from confide.wire.grants import Grant
from confide.wire.usage import (
    FIRST_PREVIOUS,
    SignedStatement,
    UsageStatement,
    bucket_tokens,
    signed_bytes,
)

__all__ = ["Outcome", "UsageLedger", "UsageLine"]

Outcome = Literal["complete", "cancelled", "failed", "refused"]

_NO_MODEL: Final = "none"
_BATCH: Final = 1_000


@dataclass(frozen=True)
class _Kept:
    seq: int
    signed: SignedStatement


class UsageLedger:
    """Holds the chain. Belongs to one event loop; no method awaits.

    Args:
        sign: Signs bytes with the usage key; returns 64 bytes.
        boot_id: 32 hex characters; sequence numbers start again with each boot.
        now: Unix time in seconds.
        capacity: Most statements kept, counting those of requests still running.
    """

    def __init__(
        self,
        sign: Callable[[bytes], bytes],
        boot_id: str,
        now: Callable[[], float],
        *,
        capacity: int,
    ) -> None:
        self._sign = sign
        self._boot_id = boot_id
        self._now = now
        self._capacity = capacity
        self._kept: deque[_Kept] = deque()
        self._open_lines = 0
        self._last_seq = 0
        self._previous = FIRST_PREVIOUS

    def __len__(self) -> int:
        return len(self._kept)

    def open_line(self, grant: Grant, operation: Operation) -> UsageLine:
        """Reserve the place of one statement.

        Raises:
            ModelUnavailable: The ledger is full until the gateway acknowledges.
        """
        if len(self._kept) + self._open_lines >= self._capacity:
            raise ModelUnavailable(
                "the enclave cannot account for another request yet", code="usage-ledger-full"
            )
        self._open_lines += 1
        return UsageLine(self, grant, operation, self._now())

    def after(self, seq: int) -> tuple[SignedStatement, ...]:
        """Return at most 1,000 kept statements above `seq`, oldest first."""
        first = self._kept[0].seq if self._kept else 0
        wanted = islice(self._kept, max(0, seq + 1 - first), None)
        return tuple(kept.signed for kept in islice(wanted, _BATCH))

    def acknowledge(self, through: int) -> int:
        """Forget statements up to and including `through`; return how many."""
        dropped = 0
        while self._kept and self._kept[0].seq <= through:
            self._kept.popleft()
            dropped += 1
        return dropped

    def _close_line(
        self, line: UsageLine, outcome: Outcome, usage: Usage, model_class: str | None
    ) -> SignedStatement:
        bucketed = line.grant.usage != "exact"
        count = bucket_tokens if bucketed else int
        ended_at = self._now()
        statement = UsageStatement(
            seq=self._last_seq + 1,
            request_id=line.grant.request_id,
            domain=line.grant.domain,
            key_id=line.grant.key_id,
            model_class=model_class or _NO_MODEL,
            operation=line.operation.granted_as,
            prompt_tokens=count(usage.prompt_tokens),
            completion_tokens=count(usage.completion_tokens),
            precision="bucketed" if bucketed else usage.precision,
            outcome=outcome,
            started_at=int(line.started_at),
            # The clock may have been turned back since; a duration is never negative.
            duration_ms=max(0, round((ended_at - line.started_at) * 1000)),
            boot_id=self._boot_id,
            previous=self._previous,
        )
        encoded = statement.encode()
        signed = SignedStatement(encoded, self._sign(signed_bytes(encoded)))
        self._kept.append(_Kept(statement.seq, signed))
        self._last_seq = statement.seq
        self._previous = statement.sha256
        self._open_lines -= 1
        return signed


class UsageLine:
    """The reserved place of one request's statement; closed exactly once."""

    def __init__(
        self, ledger: UsageLedger, grant: Grant, operation: Operation, started_at: float
    ) -> None:
        self.grant = grant
        self.operation = operation
        self.started_at = started_at
        self._ledger = ledger
        self._signed: SignedStatement | None = None

    def close(
        self, outcome: Outcome, usage: Usage | None = None, model_class: str | None = None
    ) -> SignedStatement:
        """Write and sign the statement. A second call changes nothing and returns the first.

        Args:
            outcome: How the request ended.
            usage: Tokens used; none if absent.
            model_class: The model's label in the settings; "none" if no model was reached.
        """
        if self._signed is None:
            counted = usage or Usage(precision="exact")
            self._signed = self._ledger._close_line(self, outcome, counted, model_class)
        return self._signed
