"""The gateway's metrics: counts and durations, labels from closed lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confide.telemetry.metrics import Number, Registry

__all__ = ["OUTCOMES", "REFUSALS", "Instruments"]

OUTCOMES: Final = ("complete", "refused", "cancelled", "failed")

#: Codes of refusals that are counted by name; any other is counted as "other".
REFUSALS: Final = (
    "invalid-api-key",
    "key-expired",
    "key-revoked",
    "rate-limited",
    "too-many-streams",
    "request-too-large",
    "request-timeout",
    "unsupported-media-type",
    "ohttp-key",
    "no-enclave",
    "enclave-lost",
    "ledger-unavailable",
    "route-not-found",
    "other",
)

_STATEMENT_OUTCOMES: Final = (
    "accepted",
    "malformed",
    "bad-signature",
    "other-boot",
    "broken-chain",
    "other-key",
)


#: How a challenge to an enclave ends.
VETTING_OUTCOMES: Final = ("accepted", "refused", "unavailable")

#: Tasks that run as long as the gateway.
_TASKS: Final = ("accounts", "enclave", "usage")


class Instruments:
    """Counters of one gateway, and their text form."""

    def __init__(
        self,
        *,
        enclaves_healthy: Callable[[], float],
        enclaves_known: Callable[[], float],
        enclaves_refused: Callable[[], float],
        ledger_pending: Callable[[], float],
        ledger_failing: Callable[[], float],
        fields_dropped: Callable[[], float],
    ) -> None:
        """Make every series, at zero."""
        self._registry = registry = Registry()
        requests = registry.counter(
            "confide_gateway_requests_total",
            "Sealed requests that reached an enclave, by how they ended.",
            labels={"outcome": OUTCOMES},
        )
        refusals = registry.counter(
            "confide_gateway_refusals_total",
            "Requests the gateway refused itself, by problem code.",
            labels={"code": REFUSALS},
        )
        payload = registry.counter(
            "confide_gateway_relayed_bytes_total",
            "Sealed bytes copied.",
            labels={"direction": ("up", "down")},
        )
        statements = registry.counter(
            "confide_gateway_usage_statements_total",
            "Signed usage statements, accepted or refused.",
            labels={"outcome": _STATEMENT_OUTCOMES},
        )
        failures = registry.counter(
            "confide_gateway_task_failures_total",
            "Unexpected errors of background tasks; each started again.",
            labels={"task": _TASKS},
        )
        self._looks = _looks(registry)
        self._failures = {name: failures.child(task=name) for name in _TASKS}
        self._requests = {name: requests.child(outcome=name) for name in OUTCOMES}
        self._refusals = {name: refusals.child(code=name) for name in REFUSALS}
        self._statements = {name: statements.child(outcome=name) for name in _STATEMENT_OUTCOMES}
        self._up, self._down = payload.child(direction="up"), payload.child(direction="down")
        self._seconds = registry.histogram(
            "confide_gateway_request_seconds", "From admission to the last byte of the answer."
        ).child()
        self.streams = registry.gauge(
            "confide_gateway_streams", "Sealed requests in flight."
        ).child()
        for name, help_text, read in (
            ("enclaves_healthy", "Enclaves on offer.", enclaves_healthy),
            ("enclaves_known", "Enclaves known.", enclaves_known),
            ("enclaves_refused", "Enclaves whose evidence is not accepted.", enclaves_refused),
            ("ledger_pending", "Rows waiting to be written.", ledger_pending),
            ("ledger_failing", "1 while the database refuses rows.", ledger_failing),
            ("log_fields_dropped", "Log fields and values that were refused.", fields_dropped),
        ):
            registry.gauge(f"confide_gateway_{name}", help_text, read=read)

    def relayed(self, outcome: str, bytes_up: int, bytes_down: int, seconds: float) -> None:
        """Count one request that reached an enclave."""
        self._requests[outcome].inc()
        self._up.inc(bytes_up)
        self._down.inc(bytes_down)
        self._seconds.observe(seconds)

    def refused(self, code: str) -> None:
        """Count one refusal."""
        self._refusals.get(code, self._refusals["other"]).inc()

    def statements(self, accepted: int, problem: str | None) -> None:
        """Count a batch of usage statements."""
        self._statements["accepted"].inc(accepted)
        if problem is not None:
            self._statements[problem].inc()

    def vetted(self, outcome: str) -> None:
        """Count one challenge of an enclave."""
        self._looks[outcome].inc()

    def failed(self, task: str) -> None:
        """Count one failure of a background task."""
        self._failures[task].inc()

    def names(self) -> tuple[str, ...]:
        """Names of all metrics."""
        return self._registry.names()

    def render(self) -> bytes:
        """Write the Prometheus text form."""
        return self._registry.render().encode()


def _looks(registry: Registry) -> dict[str, Number]:
    counter = registry.counter(
        "confide_gateway_evidence_checks_total",
        "Challenges of this gateway to its enclaves, by how they ended.",
        labels={"outcome": VETTING_OUTCOMES},
    )
    return {name: counter.child(outcome=name) for name in VETTING_OUTCOMES}
