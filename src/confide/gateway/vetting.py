"""Ask an enclave to prove itself before anything is routed to it.

The gateway challenges each enclave with a nonce of its own and judges the evidence under the
operator's policy, with the same verifier that clients use: on registration, for every new key
document, and again before the verdict ends. It looks at evidence only; nothing that is sealed
passes through here.

An enclave that could not be asked keeps the verdict it has until that ends. One whose evidence
was refused loses it at once, and is asked again after a pause, because each challenge costs the
enclave a quote.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from confide.attest.binding import NONCE_LENGTH
from confide.attest.evidence import MAX_ENVELOPE
from confide.attest.results import EnclaveVerifier, Verdict
from confide.errors import AttestationError, BindingError, TransportError
from confide.gateway.asking import fetch
from confide.gateway.upstream import Upstream
from confide.wire.directory import Replica
from confide.wire.key_document import KeyDocument

__all__ = ["RETRY_S", "Standing", "Vetting"]

RETRY_S: Final = 30.0
"""Seconds before an enclave that was refused is challenged again."""

_QUOTE_S: Final = 30.0  # a GPU report can take seconds


@dataclass
class Standing:
    """How one enclave's evidence was judged.

    Attributes:
        accepted: Document (hexadecimal SHA-256) to the Unix time its verdict ends.
        document: The document that was judged last, or None.
        code: Why it was refused, or None.
        factor: The factor that failed, or None.
        checked_at: Unix seconds of the last judgement; 0 if there was none.
        platform: Of the last accepted evidence, such as "sev-snp", or None.
    """

    accepted: dict[str, float] = field(default_factory=dict)
    document: str | None = None
    code: str | None = None
    factor: str | None = None
    checked_at: float = 0.0
    platform: str | None = None

    def accept(self, document: str, verdict: Verdict, now: float) -> None:
        """Take an accepted document."""
        self.accepted[document] = verdict.expires_at.timestamp()
        self.document, self.checked_at = document, now
        self.platform, self.code, self.factor = verdict.platform, None, None

    def refuse(self, document: str, error: AttestationError, now: float) -> None:
        """Take a refused document. Whatever this enclave showed before counts no longer."""
        self.accepted.clear()
        self.document, self.checked_at = document, now
        self.code, self.factor = error.code, error.failed_factor

    def keep(self, *documents: str) -> None:
        """Forget verdicts about all other documents."""
        self.accepted = {name: self.accepted[name] for name in documents if name in self.accepted}


class Vetting:
    """Judges evidence for the gateway.

    Args:
        verifier: Decides; under the operator's policy, or the one-machine stack's own.
        now: Unix seconds.
        every_s: Most seconds between two looks at one enclave.
    """

    def __init__(
        self,
        verifier: EnclaveVerifier,
        *,
        now: Callable[[], float],
        every_s: float,
    ) -> None:
        self._verifier = verifier
        self._now = now
        self._every_s = every_s

    def due(self, standing: Standing, document: str, now: float) -> bool:
        """Whether to challenge now: a new document, a pause that is over, or half a life gone."""
        age_s = now - standing.checked_at
        if standing.document != document or age_s < 0:
            return True
        if standing.code is not None:
            return age_s >= RETRY_S
        life_s = standing.accepted.get(document, 0.0) - standing.checked_at
        return age_s >= min(self._every_s, life_s / 2)

    async def examine(self, upstream: Upstream, replica: Replica, document: KeyDocument) -> Verdict:
        """Challenge an enclave and judge its answer.

        Args:
            upstream: The way to it.
            replica: What it says of itself.
            document: The key document in `replica`, parsed.

        Raises:
            AttestationError: The evidence is not acceptable.
            NoEnclaveAvailable: No connection.
            TransportError: No evidence came.
        """
        nonce = secrets.token_bytes(NONCE_LENGTH)
        target = f"/.well-known/confide/evidence/{document.sha256_hex}?nonce={nonce.hex()}"
        raw = await fetch(
            upstream, b"GET", target.encode("ascii"), limit=MAX_ENVELOPE, timeout_s=_QUOTE_S
        )
        verdict = await asyncio.to_thread(
            self._verifier.verify,
            raw,
            document=replica.document,
            manifest=replica.manifest,
            nonce=nonce,
            at=datetime.fromtimestamp(self._now(), UTC),
        )
        if verdict.document_sha256 != document.sha256:
            raise BindingError("the verdict is about another key document", code="binding.document")
        if verdict.expires_at.timestamp() <= self._now():
            raise TransportError("the verdict ended while it was made", code="enclave-slow")
        return verdict
