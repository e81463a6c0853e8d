"""Credential to caller: recognised, in force, within its limits; or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confide.errors import AuthenticationError, NoEnclaveAvailable, RateLimited
from confide.gateway.callers import Caller, Callers
from confide.gateway.ledger import KeyUsed, Ledger, day_of
from confide.gateway.limits import Reason
from confide.identity.api_keys import digest, well_formed

__all__ = ["Admission"]

_SCHEME: Final = b"bearer "
_NEW_KEY: Final = "the operator makes one with: confide admin keys create"
_HINTS: Final = {
    Reason.RATE: "the requests per minute of this key are used up",
    Reason.STREAMS: "this key has as many answers in flight as it may",
}


class Admission:
    """Lets callers in."""

    def __init__(
        self,
        callers: Callers,
        ledger: Ledger,
        pepper: bytes,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Remember where to look.

        Args:
            callers: Keys by digest.
            ledger: Notes use; refuses everybody when it is full.
            pepper: 32 bytes.
            now: Unix seconds, for expiry.
            monotonic: Seconds, for limits.
        """
        self._callers = callers
        self._ledger = ledger
        self._pepper = pepper
        self._now = now
        self._monotonic = monotonic

    def recognise(self, authorization: bytes | None) -> Caller:
        """Find the caller, without counting anything.

        Args:
            authorization: Value of the header, or None.

        Raises:
            AuthenticationError: No key, an unknown one, an expired or revoked one.
        """
        if authorization is None or authorization[:7].lower() != _SCHEME:
            raise AuthenticationError(
                "send the API key as: Authorization: Bearer ck_...; " + _NEW_KEY
            )
        key = authorization[7:].strip()
        caller = self._callers.find(digest(self._pepper, key))
        if caller is None:
            if well_formed(key):
                raise AuthenticationError("this gateway does not know this API key; " + _NEW_KEY)
            raise AuthenticationError("this is not an API key; was it cut or mistyped?")
        principal = caller.principal
        if principal.revoked:
            raise AuthenticationError("this API key was revoked; " + _NEW_KEY, code="key-revoked")
        if principal.expires_at is not None and self._now() >= principal.expires_at:
            raise AuthenticationError("this API key expired; " + _NEW_KEY, code="key-expired")
        return caller

    def admit(self, caller: Caller) -> None:
        """Take one request and one stream of the caller's limits.

        Call `caller.limiter.release()` once afterwards, however the request ends.

        Raises:
            NoEnclaveAvailable: The ledger cannot take another row (code "ledger-unavailable").
            RateLimited: A limit was reached.
        """
        if self._ledger.full:
            raise NoEnclaveAvailable(
                "usage cannot be recorded right now; the operator finds the cause in the gateway's"
                " log, event ledger-failing",
                code="ledger-unavailable",
            )
        denied = caller.limiter.admit(self._monotonic())
        if denied is not None:
            raise RateLimited(
                _HINTS[denied.reason], retry_after=denied.retry_after_s, code=denied.reason.value
            )
        day = day_of(self._now())
        if caller.used_on != day:
            caller.used_on = day
            self._ledger.add(KeyUsed(caller.principal.key_id, day))

    def remaining(self, caller: Caller) -> int:
        """Return how many requests the caller could make right now."""
        return caller.limiter.left(self._monotonic())
