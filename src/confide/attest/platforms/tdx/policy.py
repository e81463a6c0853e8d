"""Read the table [tdx] of a policy file.

    [tdx]
    allow_status = ["UpToDate"]        # or tables, for a status that is accepted for a while:
    # allow_status = [
    #   "UpToDate",
    #   { status = "OutOfDate", until = 2027-01-31T00:00:00Z, advisories = ["INTEL-SA-01099"] },
    # ]
    min_tcb_evaluation_number = 18
    sept_ve = "disabled"               # "paravisor" for Azure's guests
    service_td = ["<96 hex digits>"]   # leave out: no service TD is accepted
    mr_seam = ["<96 hex digits>"]      # leave out: Intel's status decides about the module
    eventlog = "required"              # leave out: a log is checked if it is sent

TDs that are debuggable, profilable or migratable are always refused, and so is what Intel
has revoked; no key says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confide.attest.platforms.tdx.requirements import (
    EventLogReplayed,
    ModuleIn,
    SeptVe,
    SeptVeDemand,
    ServiceTd,
    StatusRule,
    TdAttributes,
    TdxTcb,
)
from confide.attest.platforms.tdx.tcb import STATUSES
from confide.attest.policy import AllOf, Requirement
from confide.attest.policy_values import (
    invalid,
    only,
    read_choice,
    read_digest,
    read_each,
    read_integer,
    read_moment,
    read_table,
    read_text,
)

__all__ = ["KEYS", "read"]

KEYS: Final = (
    "allow_status",
    "min_tcb_evaluation_number",
    "sept_ve",
    "service_td",
    "mr_seam",
    "eventlog",
)
_ACCEPTABLE: Final = STATUSES[:-1]
_DIGEST: Final = 48


def read(table: Mapping[str, object]) -> Requirement:
    """Read the table.

    Args:
        table: As `tomllib` returns it.

    Raises:
        ConfigError: policy.unknown_key or policy.invalid; also when allow_status or
            min_tcb_evaluation_number is missing: an absent expectation is a refusal.
    """
    only(table, "[tdx]", KEYS)
    rules = read_each(table.get("allow_status"), "tdx.allow_status", _rule)
    if len({rule.status for rule in rules}) != len(rules):
        raise invalid("tdx.allow_status", "a list with a status twice")
    number = read_integer(
        table.get("min_tcb_evaluation_number"),
        "tdx.min_tcb_evaluation_number",
        low=1,
        high=2**31,
    )
    demand = read_choice(table.get("sept_ve", "disabled"), "tdx.sept_ve", SeptVeDemand)
    parts: list[Requirement] = [
        TdxTcb(rules, number),
        TdAttributes(),
        SeptVe(SeptVeDemand(demand)),
        ServiceTd(_digests(table, "service_td") if "service_td" in table else frozenset()),
    ]
    if "mr_seam" in table:
        parts.append(ModuleIn(_digests(table, "mr_seam")))
    if "eventlog" in table:
        read_choice(table["eventlog"], "tdx.eventlog", ("required",))
        parts.append(EventLogReplayed())
    return AllOf(*parts)


def _rule(value: object, where: str) -> StatusRule:
    if isinstance(value, str):
        return StatusRule(read_choice(value, where, _ACCEPTABLE))
    table = read_table(value, where)
    only(table, where, ("status", "until", "advisories"))
    listed = table.get("advisories")
    return StatusRule(
        status=read_choice(table.get("status"), f"{where}.status", _ACCEPTABLE),
        until=read_moment(table.get("until"), f"{where}.until"),
        advisories=frozenset()
        if listed is None
        else frozenset(read_each(listed, f"{where}.advisories", read_text)),
    )


def _digests(table: Mapping[str, object], key: str) -> frozenset[bytes]:
    def one(value: object, where: str) -> bytes:
        return read_digest(value, where, _DIGEST)

    return frozenset(read_each(table[key], f"tdx.{key}", one))
