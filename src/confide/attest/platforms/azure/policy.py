"""Read the table [azure] of a policy file.

    [azure]
    paravisor = ["<96 hex digits>"]    # launch measurement (TDX: MRTD) of Microsoft's code
    paravisor_id_keys = ["<96 hex>"]   # or, for SEV-SNP, ID_KEY_DIGEST of who signed it

    [azure.pcrs]                       # at least one; each value in hex, or a list of them
    4 = "<64 hex digits>"
    11 = ["<64 hex digits>", "<64 hex digits>"]

    [azure.vm]                         # leave out, or list what the paravisor must state
    secure-boot = true
    tpm-enabled = true

One of the first two keys must be there: without them anybody's program on a genuine machine
could state any PCRs. The table [snp] or [tdx] beside it says what is demanded of the
hardware's report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confide.attest.platforms.azure.requirements import ParavisorIn, PcrsAre, VmSettings
from confide.attest.platforms.azure.tpm_quote import PCR_COUNT, PCR_LENGTH
from confide.attest.policy import AllOf, Requirement
from confide.attest.policy_values import (
    invalid,
    only,
    read_digest,
    read_each,
    read_hex,
    read_table,
    read_text,
)

__all__ = ["KEYS", "read"]

KEYS: Final = ("paravisor", "paravisor_id_keys", "pcrs", "vm")

_LAUNCH: Final = 48


def read(table: Mapping[str, object]) -> Requirement:
    """Read the table.

    Args:
        table: As `tomllib` returns it.

    Raises:
        ConfigError: policy.unknown_key or policy.invalid; also without a PCR or without a
            paravisor: an absent expectation is a refusal.
    """
    only(table, "[azure]", KEYS)
    pcrs = read_table(table.get("pcrs"), "[azure.pcrs]")
    numbers = {str(number): number for number in range(PCR_COUNT)}
    only(pcrs, "[azure.pcrs]", numbers)
    parts: list[Requirement] = [
        _paravisor(table),
        PcrsAre({numbers[name]: _values(name, value) for name, value in pcrs.items()}),
    ]
    if "vm" in table:
        listed = read_table(table["vm"], "[azure.vm]")
        parts.append(VmSettings({name: _setting(name, one) for name, one in listed.items()}))
    return AllOf(*parts)


def _paravisor(table: Mapping[str, object]) -> ParavisorIn:
    def one(value: object, where: str) -> bytes:
        return read_digest(value, where, _LAUNCH)

    listed = {
        key: frozenset(read_each(table[key], f"azure.{key}", one))
        for key in ("paravisor", "paravisor_id_keys")
        if key in table
    }
    if not listed:
        raise invalid(
            "azure.paravisor",
            "missing: any program on a genuine machine can state PCRs of its choice",
            hint="list the launch measurements you accept, or paravisor_id_keys for SEV-SNP",
        )
    return ParavisorIn(
        listed.get("paravisor", frozenset()), listed.get("paravisor_id_keys", frozenset())
    )


def _values(name: str, value: object) -> frozenset[str]:
    where = f"azure.pcrs.{name}"

    def one(digest: object, at: str) -> str:
        return read_hex(digest, at, PCR_LENGTH).hex()

    return frozenset(read_each(value if isinstance(value, list) else [value], where, one))


def _setting(name: str, value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return read_text(value, f"azure.vm.{name}")
    raise invalid(f"azure.vm.{name}", "neither a text nor true or false")
