"""What the enclave counts. The host can read all of it, so nothing here tells content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from confide.telemetry.metrics import Counter, Registry

__all__ = ["EnclaveMetrics"]

_OUTCOMES: Final = ("complete", "cancelled", "failed", "refused")
_REFUSALS: Final = ("grant", "key", "replay", "size", "busy", "gone", "timeout", "other")


class EnclaveMetrics:
    """The metrics of one enclave.

    Attributes:
        registry: Renders them.
    """

    def __init__(self) -> None:
        self.registry = Registry()
        self._answered: Counter = self.registry.counter(
            "confide_enclave_requests_total",
            "Opened requests, by how they ended.",
            labels={"outcome": _OUTCOMES},
        )
        self._refused: Counter = self.registry.counter(
            "confide_enclave_refusals_total",
            "Requests refused before they were acted on, by reason.",
            labels={"reason": _REFUSALS},
        )
        self._open = self.registry.gauge(
            "confide_enclave_open_requests", "Sealed requests in progress."
        ).child()

    @property
    def open_requests(self) -> int:
        """Sealed requests in progress."""
        return int(self._open.value)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request while it is in progress."""
        self._open.inc()
        try:
            yield
        finally:
            self._open.dec()

    def answered(self, outcome: str) -> None:
        """Count one opened request that ended: complete, cancelled, failed or refused."""
        self._answered.child(outcome=outcome).inc()

    def refused(self, code: str) -> None:
        """Count one refusal before anything was acted on.

        Args:
            code: The error's slug.
        """
        self._refused.child(reason=_reason(code)).inc()

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when rendered."""
        self.registry.gauge(name, text, read=read)


_BY_CODE: Final = {
    "grant-missing": "grant",
    "grant-refused": "grant",
    "ohttp-key": "key",
    "open": "key",
    "date": "replay",
    "too-large": "size",
    "request-too-large": "size",
    "enclave-busy": "busy",
    "gone": "gone",
    "timeout": "timeout",
}


def _reason(code: str) -> str:
    return _BY_CODE.get(code, "other")
