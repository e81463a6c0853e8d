"""The enclaves this client has verified, for how long, and whose turn it is to verify.

A session is one replica: its key document, the key to seal to, and the verdict about it.
It is used only while all of these hold: the verdict has not expired, the key document has
not ended, and the check is less than an hour old. Sessions live in memory only.

Who verifies: one caller at a time. Callers that waited share the outcome, good or bad;
`generation` counts finished attempts so that a caller can tell that one finished
while it waited.

Source: spec/protocol.md section 3 (request-time freshness).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from confide.attest.results import EnclaveVerifier, Verdict
from confide.client.kept_errors import bare
from confide.errors import ConfideError
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument

__all__ = ["MAX_AGE_S", "Session", "Sessions"]

MAX_AGE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Session:
    """One verified replica.

    Attributes:
        document: Its key document.
        key_config: The key to seal to.
        verdict: What the verifier said about exactly this document.
        verified_at: Unix seconds by this client's clock.
        generation: The attempt that verified it.
    """

    document: KeyDocument
    key_config: KeyConfig = field(repr=False)
    verdict: Verdict = field(repr=False)
    verified_at: float
    generation: int

    def usable(self, now: float) -> bool:
        """Whether a request may be sealed to it at this instant.

        A clock that went back behind the check makes it unusable: its age is unknown then.
        """
        return (
            now < self.verdict.expires_at.timestamp()
            and now < self.document.not_after
            and 0 <= now - self.verified_at < MAX_AGE_S
        )


class Sessions:
    """The verified replicas of one gateway. Safe for concurrent use.

    Args:
        verifier: Decides about evidence.
        now: Unix seconds.
    """

    def __init__(self, verifier: EnclaveVerifier, now: Callable[[], float]) -> None:
        self.verifier = verifier
        self.now = now
        self._guard = threading.Lock()  # held for assignments only, never across I/O
        self._sessions: tuple[Session, ...] = ()
        self._generation = 0
        self._failure: ConfideError | None = None

    @property
    def generation(self) -> int:
        """How many attempts to verify have ended."""
        return self._generation

    @property
    def failure(self) -> ConfideError | None:
        """How the last attempt failed, to be raised; None if it succeeded or there was none."""
        return None if self._failure is None else bare(self._failure)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts of the replicas that may be used now."""
        now = self.now()
        return tuple(s.verdict for s in self._sessions if s.usable(now))

    def pick(self, avoid: Collection[bytes] = ()) -> Session | None:
        """Choose a usable replica, always the first one, so that its caches stay warm.

        Args:
            avoid: SHA-256 digests of key documents not to use.
        """
        now = self.now()
        for session in self._sessions:
            if session.document.sha256 not in avoid and session.usable(now):
                return session
        return None

    def drop(self, session: Session) -> None:
        """Forget one replica, if it is still the one that was verified."""
        with self._guard:
            self._sessions = tuple(s for s in self._sessions if s is not session)

    def replace(self, sessions: Iterable[Session]) -> None:
        """Take the outcome of a successful attempt; earlier sessions are forgotten."""
        with self._guard:
            self._sessions = tuple(sessions)
            self._failure = None
            self._generation += 1

    def fail(self, error: ConfideError) -> None:
        """Take the outcome of a failed attempt. What is still usable stays so until it expires."""
        with self._guard:
            self._failure = bare(error)
            self._generation += 1
