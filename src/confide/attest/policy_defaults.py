"""The policy that `confide policy init` writes, and the same as an object.

One text serves both, so what is written, what is documented and what the code demands
cannot differ. Firmware floors are the highest versions seen in the recorded evidence of
each product: plausible for tests, and no advice. Take real floors from the maker's security
bulletins when you release.

Milan has no floor, so Milan is refused: its chips cannot tell all known firmware flaws
apart, and whoever must use it writes the floor, knowingly.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from confide.attest.policy import AppraisalPolicy, Profile
from confide.attest.policy_file import read_tables
from confide.errors import ConfigError

__all__ = ["NVIDIA_TABLE", "SNP_TABLE", "TDX_TABLE", "default_policy", "policy_text"]

SNP_TABLE: Final = """\
[snp]
signers = ["vcek"]               # chip keys; on AWS ["vlek"], and then csp_id = ["CN=..."]
max_vmpl = 0                     # privilege level of whoever asked for the report, at most
allow_migration_agent = false    # a migration agent can move the guest's memory elsewhere
allow_smt = true                 # both threads of a core; false where side channels matter more
allow_cxl = false                # memory on a CXL bus
min_guest_svn = 0                # security version in the signed ID block
min_abi = "1.55"                 # version of the processor's firmware
require_alias_check = true       # memory was tested for aliases at boot (BadRAM)
platform_info_unknown = "allow"  # newer firmware reports more facts; "deny" refuses it
crl = "required"                 # AMD's revocation list must be at hand and in date

# Lowest accepted version of every component, by product. A product that is not listed is
# refused; Milan is left out on purpose. The numbers are the highest of recorded evidence,
# not advice: take yours from AMD's security bulletins.
[snp.min_tcb.Genoa]
bootloader = 10
tee = 0
snp = 23
microcode = 84
[snp.min_tcb."Genoa/0xa0"]       # Bergamo and Siena: Genoa's keys, other microcode
bootloader = 10
tee = 0
snp = 23
microcode = 27
[snp.min_tcb.Turin]
fmc = 1
bootloader = 1
tee = 1
snp = 4
microcode = 81
"""
TDX_TABLE: Final = """\
[tdx]
allow_status = ["UpToDate"]      # of Intel's TCB information; others need an end and advisories
min_tcb_evaluation_number = 18   # Intel's data set, at least; older ones hide newer flaws
sept_ve = "disabled"             # the host cannot inject page faults unseen
# service_td = ["<96 hex digits>"]  # none is accepted; one can read or move the guest
# mr_seam = ["<96 hex digits>"]  # modules you accept; without it Intel's status decides
"""
NVIDIA_TABLE: Final = """\
[nvidia]
required = true
count = 1                        # GPUs, exactly
modes = ["SPT"]
arch = ["HOPPER", "BLACKWELL"]
revocation = "stapled-ocsp"      # a certificate of a GPU never expires: this withdraws one
# Reference values follow: confide policy import-rim FILE --driver RIM --vbios RIM
"""
_TABLES: Final = {"snp": SNP_TABLE, "tdx": TDX_TABLE}


def default_policy(
    workloads: Sequence[Mapping[str, object]],
    *,
    name: str,
    not_after: datetime,
    at: datetime,
) -> AppraisalPolicy:
    """Make the default policy for some workloads.

    No debugging, no cached evidence, the floors above, and no GPU demanded.

    Args:
        workloads: As a policy file lists them, such as `Release.tables`.
        name: For people; part of every result.
        not_after: It accepts nothing at or after this instant.
        at: Now.

    Raises:
        ConfigError: policy.no_workload, policy.invalid or policy.expired.
    """
    text = policy_text(workloads, name=name, not_after=not_after)
    return read_tables(tomllib.loads(text), at=at)


def policy_text(
    workloads: Sequence[Mapping[str, object]],
    *,
    name: str,
    not_after: datetime,
    profile: Profile = Profile.PRODUCTION,
    remarks: Iterable[str] = (),
) -> str:
    """Write a policy file with its comments.

    Args:
        workloads: As a policy file lists them; `snp` and `tdx` bring their tables.
        name: For people.
        not_after: With a time zone.
        profile: What it is for.
        remarks: Lines of comment at the top, such as where the values came from.

    Raises:
        ConfigError: policy.no_workload.
    """
    kinds = [kind for kind in _TABLES if any(kind in one for one in workloads)]
    if not kinds:
        raise ConfigError("no workload with a measurement", code="policy.no_workload")
    lines = [*(f"# {line}".rstrip() for line in remarks), ""] if remarks else []
    end = not_after.astimezone(UTC)
    lines += [
        "version = 1",
        f"name = {_quoted(name)}",
        f"not_after = {end:%Y-%m-%dT%H:%M:%SZ}   # accepts nothing from then on",
        f"profile = {_quoted(profile)}"
        + ("" if profile is Profile.PRODUCTION else "                  # every result says so"),
        "require_nonce = true             # the only value: every check is a fresh challenge",
        "",
        "# Any one workload must match completely: measurement and manifest.",
    ]
    for one in workloads:
        lines += _workload(one)
    lines += ["", *("\n".join(_TABLES[kind] for kind in kinds)).splitlines()]
    lines += ["", *_PLATFORMS.splitlines()]
    return "\n".join(lines) + "\n"


_PLATFORMS: Final = """\
# Genuine evidence does not prove that the machine stands in a locked room. If you know the
# machines, list them; others are then refused.
# [platforms]
# snp_chip_ids = ["<128 hex digits>"]
# tdx_platform_ids = ["<32 hex digits>"]
# gpu_serials = ["<hex digits>"]
"""


def _quoted(text: str) -> str:
    # JSON and TOML agree on strings of printable text.
    return json.dumps(text, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _workload(table: Mapping[str, object]) -> list[str]:
    lines = ["[[workload]]"]
    for key in ("name", "manifest_sha256"):
        lines.append(f"{key} = {_value(table[key])}")
    for kind in _TABLES:
        rows = table.get(kind)
        if isinstance(rows, (list, tuple)):
            lines += [f"{kind} = [", *(f"  {_value(row)}," for row in rows), "]"]
    return lines
