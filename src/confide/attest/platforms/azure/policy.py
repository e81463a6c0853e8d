"""Read the table [azure] of a policy file.

    [azure.pcrs]                       # at least one; each value in hex, or a list of them
    4 = "<64 hex digits>"
    11 = ["<64 hex digits>", "<64 hex digits>"]

    [azure.vm]                         # leave out, or list what the paravisor must state
    secure-boot = true
    tpm-enabled = true

The table [snp] or [tdx] beside it says what is demanded of the hardware's report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confide.attest.platforms.azure.requirements import PcrsAre, VmSettings
from confide.attest.platforms.azure.tpm_quote import PCR_COUNT, PCR_LENGTH
from confide.attest.policy import AllOf, Requirement
from confide.attest.policy_values import (
    invalid,
    only,
    read_each,
    read_hex,
    read_table,
    read_text,
)

__all__ = ["KEYS", "read"]

KEYS: Final = ("pcrs", "vm")


def read(table: Mapping[str, object]) -> Requirement:
    """Read the table.

    Args:
        table: As `tomllib` returns it.

    Raises:
        ConfigError: policy.unknown_key or policy.invalid; also without a PCR: an absent
            expectation is a refusal.
    """
    only(table, "[azure]", KEYS)
    pcrs = read_table(table.get("pcrs"), "[azure.pcrs]")
    numbers = {str(number): number for number in range(PCR_COUNT)}
    only(pcrs, "[azure.pcrs]", numbers)
    parts: list[Requirement] = [
        PcrsAre({numbers[name]: _values(name, value) for name, value in pcrs.items()})
    ]
    if "vm" in table:
        listed = read_table(table["vm"], "[azure.vm]")
        parts.append(VmSettings({name: _setting(name, one) for name, one in listed.items()}))
    return AllOf(*parts)


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
