"""Fetch signed usage statements from enclaves, check them, book them, acknowledge them.

The gateway cannot count tokens. Each enclave keeps a chain of statements signed by the key
in its attested key document; the gateway fetches what is new every second and right after an
answer ended, and verifies signature, boot id, sequence and hash chain. It books what is valid
up to the first statement that is not, records why, and acknowledges only what was committed:
an enclave keeps a statement until then, so a crash of the gateway loses none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from confide.errors import ConfideError, SealingError
from confide.gateway.asking import fetch
from confide.gateway.ledger import ChainRow, Ledger, StatementBatch, StatementRow
from confide.gateway.registry import Enclave
from confide.telemetry.logs import event
from confide.wire.usage import (
    FIRST_PREVIOUS,
    MAX_BATCH,
    SignedStatement,
    UsageStatement,
    parse_batch,
)

__all__ = ["UsageCollector", "Verified", "verify"]

_INTERVAL_S: Final = 1.0
_AFTER_PROBLEM_S: Final = 30.0
_PAUSE_S: Final = 0.1  # between two fetches, however many answers end


class TokenSource(Protocol):
    """Makes the token that opens the enclave's usage routes."""

    def usage_token(self, now: float) -> bytes:
        """Return a compact JWT."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a batch was worth.

    Attributes:
        rows: The statements that were accepted, in order.
        chain: The position after them, with the reason if one was refused.
    """

    rows: tuple[StatementRow, ...]
    chain: ChainRow


def verify(batch: Sequence[SignedStatement], chain: ChainRow) -> Verified:
    """Follow a chain through a batch until its end or the first statement that is wrong.

    Args:
        batch: Statements as received, oldest first. Those already followed are skipped.
        chain: Where the chain stands.

    Returns:
        The accepted rows and the new position. `chain.problem` is one of "malformed",
        "bad-signature", "other-boot", "broken-chain", or None.
    """
    key = Ed25519PublicKey.from_public_bytes(chain.usage_key)
    rows: list[StatementRow] = []
    chain = replace(chain, problem=None)
    for signed in batch:
        try:
            statement = UsageStatement.parse(signed.statement)
        except SealingError:
            return Verified(tuple(rows), replace(chain, problem="malformed"))
        if statement.seq <= chain.through:
            continue
        problem = _objection(signed, statement, chain, key)
        if problem is not None:
            return Verified(tuple(rows), replace(chain, problem=problem))
        rows.append(_row(signed, statement))
        head = hashlib.sha256(signed.statement).hexdigest()
        chain = replace(chain, through=statement.seq, head=head)
    return Verified(tuple(rows), chain)


def _objection(
    signed: SignedStatement, statement: UsageStatement, chain: ChainRow, key: Ed25519PublicKey
) -> str | None:
    try:
        key.verify(signed.signature, signed.signed_bytes)
    except InvalidSignature:
        return "bad-signature"
    if statement.boot_id != chain.boot_id:
        return "other-boot"
    if statement.seq != chain.through + 1 or statement.previous != chain.head:
        return "broken-chain"
    return None


def _row(signed: SignedStatement, statement: UsageStatement) -> StatementRow:
    return StatementRow(
        boot_id=statement.boot_id,
        seq=statement.seq,
        request_id=statement.request_id,
        domain=statement.domain,
        key_id=statement.key_id,
        started_at=statement.started_at,
        prompt_tokens=statement.prompt_tokens,
        completion_tokens=statement.completion_tokens,
        statement=signed.statement,
        signature=signed.signature,
    )


class UsageCollector:
    """Follows the chains of all enclaves."""

    def __init__(
        self,
        ledger: Ledger,
        tokens: TokenSource,
        *,
        now: Callable[[], float],
    ) -> None:
        """Read how far each chain was followed.

        Args:
            ledger: Where statements are booked; not started yet.
            tokens: Signs the token for the enclaves.
            now: Unix seconds.
        """
        self._ledger = ledger
        self._tokens = tokens
        self._now = now
        #: Told how many statements were accepted and why one was refused.
        self.on_batch: Callable[[int, str | None], None] = lambda _rows, _problem: None
        self._chains = ledger.chains()
        self._acknowledged: dict[str, int] = {}

    async def follow(self, enclave: Enclave) -> None:
        """Fetch from one enclave until cancelled."""
        while True:
            pause = _INTERVAL_S
            if enclave.document is not None:
                try:
                    pause = await self.collect(enclave)
                except ConfideError as error:
                    event("usage-unreachable", level="debug", enclave=enclave.name, code=error.code)
            await asyncio.sleep(_PAUSE_S)
            await enclave.answered(pause)

    async def collect(self, enclave: Enclave) -> float:
        """Fetch, verify, book and acknowledge once.

        Returns:
            Seconds to wait before the next time, if no answer ends before.

        Raises:
            ConfideError: The enclave did not answer, or not with a batch.
        """
        document = enclave.document
        if document is None:
            raise ConfideError("the enclave has no key document yet")
        fresh = ChainRow(document.boot_id, enclave.url, document.usage_key, 0, FIRST_PREVIOUS, None)
        chain = self._chains.get(document.boot_id, fresh)
        if chain.usage_key != document.usage_key:
            # One boot has one key. Another one under the same boot id is somebody else.
            await self._book(enclave, chain, Verified((), replace(chain, problem="other-key")))
            return _AFTER_PROBLEM_S
        batch = parse_batch(await self._get(enclave, chain.through))
        if batch:
            # Verifying costs 60 us per statement and releases the GIL.
            verified = await asyncio.to_thread(verify, batch, chain)
            await self._book(enclave, chain, verified)
            chain = verified.chain
        if self._acknowledged.get(chain.boot_id, 0) < chain.through:
            await self._acknowledge(enclave, chain)
        return _AFTER_PROBLEM_S if chain.problem else _INTERVAL_S

    async def _book(self, enclave: Enclave, before: ChainRow, verified: Verified) -> None:
        chain = verified.chain
        if chain == before:
            return
        self.on_batch(len(verified.rows), chain.problem)
        if chain.problem and chain.problem != before.problem:
            event(
                "usage-refused",
                level="error",
                enclave=enclave.name,
                boot_id=chain.boot_id,
                seq=chain.through + 1,
                code=chain.problem,
            )
        loop = asyncio.get_running_loop()
        committed: asyncio.Future[None] = loop.create_future()

        def on_commit() -> None:  # called by the writer thread
            loop.call_soon_threadsafe(_resolve, committed)

        self._ledger.add(StatementBatch(verified.rows, chain, on_commit))
        await committed
        self._chains[chain.boot_id] = chain

    async def _get(self, enclave: Enclave, after: int) -> bytes:
        return await fetch(
            enclave.upstream,
            b"GET",
            b"/v1/usage?after=%d" % after,
            headers=self._headers(),
            limit=MAX_BATCH,
        )

    async def _acknowledge(self, enclave: Enclave, chain: ChainRow) -> None:
        await fetch(
            enclave.upstream,
            b"POST",
            b"/v1/usage/ack",
            headers=[*self._headers(), (b"content-type", b"application/json")],
            body=b'{"through":%d}' % chain.through,
        )
        self._acknowledged[chain.boot_id] = chain.through

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"authorization", b"Bearer " + self._tokens.usage_token(self._now()))]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
