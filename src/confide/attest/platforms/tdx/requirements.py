"""What a policy may demand of an Intel TDX guest, one leaf per subject.

`TdxTcb` decides the claim "tcb": which statuses of Intel are accepted, until when, with
which advisories, and how old Intel's data may be. `TdAttributes` and the two leaves after
it look at what the TDX module says about the guest.

Source: Intel TDX Module base architecture specification, TD attributes (bits 0 to 7 are
the TUD group: a TD with any of them set can be looked into).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from confide.attest.claims import MISSING, TCB, Claims
from confide.attest.factors import FactorSpec, Owner
from confide.attest.platforms.tdx.tcb import STATUSES
from confide.attest.requirements import Leaf
from confide.attest.results import to_unix
from confide.errors import AppraisalError, ConfigError

__all__ = [
    "EventLogReplayed",
    "ModuleIn",
    "SeptVe",
    "SeptVeDemand",
    "ServiceTd",
    "StatusRule",
    "TdAttributes",
    "TdxTcb",
]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_POLICY: Final = "confide policy check FILE"
_REVOKED: Final = "Revoked"
_UP_TO_DATE: Final = "UpToDate"
_PROFILING: Final = 0xFE
_MIGRATABLE: Final = 1 << 29
_NUMBER: Final = "tcb_evaluation_number"


@dataclass(frozen=True)
class StatusRule:
    """One status that is accepted.

    Attributes:
        status: As Intel writes it; "Revoked" cannot be accepted.
        until: When it stops being accepted. Every status but UpToDate must have an end.
        advisories: Advisories that are accepted with it; others are refused.
    """

    status: str
    until: datetime | None = None
    advisories: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.status not in STATUSES or self.status == _REVOKED:
            raise ConfigError(
                f"TDX status {self.status!r} cannot be accepted", code="policy.invalid"
            )
        if self.until is None and self.status != _UP_TO_DATE:
            raise ConfigError(
                f"TDX status {self.status} is accepted without an end",
                code="policy.invalid",
                hint="say until when, and with which advisories",
            )


@dataclass(frozen=True)
class TdxTcb(Leaf):
    """Accepts the listed statuses, with data that is not older than a number.

    Without the number an operator could keep showing older collateral that has not ended
    yet, in which a flaw that Intel has published since is not known.

    Attributes:
        rules: At least one, each status once.
        min_evaluation_number: Lowest accepted `tcbEvaluationDataNumber`.
    """

    rules: tuple[StatusRule, ...]
    min_evaluation_number: int

    def __post_init__(self) -> None:
        if not self.rules or len({rule.status for rule in self.rules}) != len(self.rules):
            raise ConfigError(
                "TdxTcb needs each accepted status once: an absent expectation is a refusal",
                code="policy.invalid",
            )
        if self.min_evaluation_number < 1:
            raise ConfigError("min_evaluation_number is not positive", code="policy.invalid")

    def decides(self) -> frozenset[str]:
        """See `Requirement.decides`."""
        return frozenset({TCB, "tcb_status", "advisories"})

    def looks_at(self) -> frozenset[str]:
        """See `Requirement.looks_at`."""
        return self.decides()

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec("tdx tcb status", Owner.CLOUD, next_command=_ASK, claim="tcb_status"),
            FactorSpec("tdx advisories", Owner.CLOUD, next_command=_POLICY, claim="advisories"),
            FactorSpec(
                "tdx tcb data age",
                Owner.NETWORK,
                next_command="confide endorsements fetch --help",
                claim=_NUMBER,
            ),
        )

    def not_after(self) -> datetime | None:
        """Return the earliest end of a rule: careful, and simple to say."""
        return min((rule.until for rule in self.rules if rule.until is not None), default=None)

    def describe(self) -> object:
        """See `Requirement.describe`."""
        rules = [
            [
                rule.status,
                None if rule.until is None else to_unix(rule.until),
                sorted(rule.advisories),
            ]
            for rule in self.rules
        ]
        return {"tdx_tcb": sorted(rules, key=str), "number": self.min_evaluation_number}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to a status or advisory that is not listed, and to older data."""
        return [*self._status(claims), *self._number(claims)]

    def _status(self, claims: Claims) -> list[AppraisalError]:
        status = claims.get("tcb_status", MISSING)
        rule = next((one for one in self.rules if one.status == status), None)
        if rule is None:
            listed = ", ".join(sorted(one.status for one in self.rules))
            return [_refuse("tcb_status", listed, status, "tcb_status")]
        advisories = claims.get("advisories", MISSING)
        if not isinstance(advisories, tuple):
            return [_refuse("advisories", "a list", advisories, "tcb_status")]
        unknown = sorted(set(advisories) - rule.advisories)
        if unknown:
            accepted = ", ".join(sorted(rule.advisories)) or "no advisory"
            return [_refuse("advisories", accepted, ", ".join(unknown), "tcb_status")]
        return []

    def _number(self, claims: Claims) -> list[AppraisalError]:
        tcb = claims.get(TCB, MISSING)
        number = tcb.get(_NUMBER, MISSING) if isinstance(tcb, Mapping) else MISSING
        if type(number) is int and number >= self.min_evaluation_number:
            return []
        least = f"at least {self.min_evaluation_number}"
        return [_refuse(_NUMBER, least, number, "tcb_evaluation_number")]


@dataclass(frozen=True)
class TdAttributes(Leaf):
    """Refuses a TD that can be profiled or moved to another machine. There is no exception."""

    _claims = frozenset({"td_attributes"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec("tdx profiling off", Owner.OPERATOR, next_command=_ASK, claim="tud_bits"),
            FactorSpec("tdx migration off", Owner.OPERATOR, next_command=_ASK, claim="migratable"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return "td_attributes"

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to each bit, and to attributes that are not there."""
        attributes = claims.get("td_attributes", MISSING)
        if type(attributes) is not int:
            return [_refuse("tud_bits", "the attributes of the TD", attributes, "tud_bits")]
        found = []
        if attributes & _PROFILING:
            found.append(_refuse("tud_bits", "0x0", hex(attributes & _PROFILING), "tud_bits"))
        if attributes & _MIGRATABLE:
            found.append(_refuse("migratable", False, True, "migratable"))
        return found


class SeptVeDemand(StrEnum):
    """What is demanded of SEPT_VE_DISABLE."""

    DISABLED = "disabled"
    """The host cannot inject #VE exceptions by taking pages away. Linux demands it."""
    PARAVISOR = "paravisor"
    """A paravisor handles the exceptions; Azure's guests have the bit clear."""


@dataclass(frozen=True)
class SeptVe(Leaf):
    """Demands that the TD never sees #VE for its private memory.

    Attributes:
        demand: What is demanded.
    """

    demand: SeptVeDemand = SeptVeDemand.DISABLED
    _claims = frozenset({"sept_ve_disable"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec(
                "tdx sept ve off", Owner.OPERATOR, next_command=_ASK, claim="sept_ve_disable"
            ),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"sept_ve": str(self.demand)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless the claim is there, and to a clear bit unless a paravisor is expected."""
        disabled = claims.get("sept_ve_disable", MISSING)
        expected = {True, False} if self.demand is SeptVeDemand.PARAVISOR else {True}
        if isinstance(disabled, bool) and disabled in expected:
            return []
        return [_refuse("sept_ve_disable", True, disabled, "sept_ve")]


@dataclass(frozen=True)
class ServiceTd(Leaf):
    """Accepts no service TD, or the listed ones. A service TD may migrate its TD's memory.

    Attributes:
        values: Accepted MR_SERVICETD, 48 bytes each; empty for none at all.
    """

    values: frozenset[bytes] = frozenset()
    _claims = frozenset({"mr_service_td"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec("tdx service td", Owner.OPERATOR, next_command=_ASK, claim="mr_service_td"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"service_td": sorted(value.hex() for value in self.values)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to every service TD that is not listed."""
        actual = claims.get("mr_service_td", MISSING)
        if actual == bytes(48) or actual in self.values:
            return []
        shown = actual.hex() if isinstance(actual, bytes) else actual
        listed = ", ".join(sorted(value.hex() for value in self.values)) or "no service TD"
        return [_refuse("mr_service_td", listed, shown, "service_td")]


@dataclass(frozen=True)
class ModuleIn(Leaf):
    """Accepts the listed TDX modules. Intel's status covers old ones; this narrows further.

    Attributes:
        values: Accepted MR_SEAM, 48 bytes each; at least one.
    """

    values: frozenset[bytes]
    _claims = frozenset({"mr_seam"})

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("ModuleIn of nothing: an absent expectation is a refusal")

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec("tdx module listed", Owner.CLOUD, next_command=_POLICY, claim="mr_seam"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return {"module_in": sorted(value.hex() for value in self.values)}

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object to every other module."""
        actual = claims.get("mr_seam", MISSING)
        if actual in self.values:
            return []
        shown = actual.hex() if isinstance(actual, bytes) else actual
        return [_refuse("mr_seam", f"one of {len(self.values)} listed modules", shown, "mr_seam")]


@dataclass(frozen=True)
class EventLogReplayed(Leaf):
    """Demands an event log that explains the registers."""

    _claims = frozenset({"eventlog"})

    def factors(self, platform: str) -> tuple[FactorSpec, ...]:  # noqa: ARG002
        """See `Requirement.factors`."""
        return (
            FactorSpec("tdx event log sent", Owner.OPERATOR, next_command=_ASK, claim="eventlog"),
        )

    def describe(self) -> object:
        """See `Requirement.describe`."""
        return "event_log_replayed"

    def objections(self, claims: Claims) -> list[AppraisalError]:
        """Object unless a log was sent and replayed."""
        found = claims.get("eventlog", MISSING)
        return (
            []
            if found == "replayed"
            else [_refuse("eventlog", "replayed", found, "eventlog_mismatch")]
        )


def _refuse(claim: str, expected: object, actual: object, code: str) -> AppraisalError:
    return AppraisalError(claim, expected=expected, actual=actual, code=f"tdx.{code}")
