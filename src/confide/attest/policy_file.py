"""Read an appraisal policy from a TOML file.

    version = 1
    name = "production-2026-11"
    not_after = 2027-02-01T00:00:00Z
    profile = "production"             # or "lab": every result says so, nothing is looser
    require_nonce = true               # the only value there is

    [[workload]]                       # any one must match completely
    name = "confide-0.1.0"
    manifest_sha256 = "<64 hex digits>"
    snp = [{ product = "Genoa", vcpus = 16, measurement = "<96 hex digits>" }]

    [snp]                              # one table per platform that may answer
    [snp.min_tcb.Genoa]                # lowest accepted version of every component
    bootloader = 10
    tee = 0
    snp = 23
    microcode = 84

    [platforms]                        # leave out unless the machines are known
    snp_chip_ids = ["<128 hex digits>"]

    [key]                              # leave out unless one key document is pinned
    document_sha256 = "<64 hex digits>"

The tables `[snp]`, `[tdx]`, `[nvidia]` and `[azure]` are read by their platforms; all keys
are in docs/reference/policy-file.md. Debuggable enclaves are always refused and a nonce is
always demanded: no key of the file says otherwise. Unknown keys, wildcards, empty lists and
an expired file are refused. The SHA-256 of the file is the policy's digest.
"""

from __future__ import annotations

import hashlib
import pkgutil
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from confide.attest.machines import DeviceIn, MachineIn
from confide.attest.measurements import ManifestIn, MeasurementIn
from confide.attest.policy import (
    AllOf,
    AppraisalPolicy,
    ByPlatform,
    NotDebuggable,
    PinnedKey,
    Profile,
    Requirement,
)
from confide.attest.policy_values import (
    invalid,
    only,
    read_choice,
    read_digest,
    read_each,
    read_flag,
    read_hex,
    read_moment,
    read_table,
    read_text,
)
from confide.attest.workloads import Workloads, read_workloads
from confide.errors import ConfigError

__all__ = [
    "MAX_POLICY",
    "READERS",
    "TOP_LEVEL",
    "load_policy",
    "parse",
    "read_policy",
    "read_tables",
]

MAX_POLICY: Final = 1024 * 1024
READERS: Final[Mapping[str, str]] = {
    "azure": "confide.attest.platforms.azure.policy:read",
    "nvidia": "confide.attest.platforms.nvidia.policy:read",
    "snp": "confide.attest.platforms.snp.policy:read",
    "tdx": "confide.attest.platforms.tdx.policy:read",
}
"""What turns a table of the file into a requirement; imported when a file has the table."""

TOP_LEVEL: Final = (
    "version",
    "name",
    "not_after",
    "profile",
    "require_nonce",
    "workload",
    "snp",
    "tdx",
    "nvidia",
    "azure",
    "platforms",
    "key",
)
"""Keys of the file, in the order in which `confide policy init` writes them."""

_VERSION: Final = 1
_PROCESSORS: Final = {"snp": "sev-snp", "tdx": "tdx"}
_AZURE: Final = {"snp": "azure-sev-snp", "tdx": "azure-tdx"}
_CHIP_ID: Final = 64
_PLATFORM_IDS: Final = (16, 32)


_STATEMENTS: Final[Mapping[str, Mapping[str, tuple[bool, str]]]] = {
    "tdx": {
        "require_sept_ve_disable": (True, 'for Azure write sept_ve = "paravisor"'),
        "allow_service_td": (False, "list the service TDs you accept: service_td = [...]"),
    },
}
"""Keys that may be written for clarity and have one value; what else is meant has its own key."""

_Read = Callable[[Mapping[str, object]], Requirement]


def read_policy(path: Path, *, at: datetime) -> AppraisalPolicy:
    """Read a policy file.

    Raises:
        ConfigError: It cannot be read, or `load_policy` refuses it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_POLICY + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the policy {path}: {error.strerror}") from error
    return load_policy(raw, at=at)


def load_policy(raw: bytes, *, at: datetime) -> AppraisalPolicy:
    """Read a policy.

    Args:
        raw: TOML, at most 1 MiB.
        at: Now; an expired policy is refused here already.

    Raises:
        ConfigError: policy.unknown_key, policy.no_workload, policy.expired, policy.profile
            or policy.invalid.
    """
    return read_tables(parse(raw), at=at, file_sha256=hashlib.sha256(raw).digest())


def parse(raw: bytes) -> Mapping[str, object]:
    """Read TOML and nothing more.

    Raises:
        ConfigError: policy.invalid.
    """
    if len(raw) > MAX_POLICY:
        raise ConfigError(
            f"appraisal policy: larger than {MAX_POLICY} bytes", code="policy.invalid"
        )
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"appraisal policy: not TOML: {error}", code="policy.invalid") from None


def read_tables(
    table: Mapping[str, object], *, at: datetime, file_sha256: bytes = b""
) -> AppraisalPolicy:
    """Make a policy of what a file says.

    Args:
        table: As `tomllib` returns it.
        at: Now.
        file_sha256: Digest of the file, 32 bytes; empty if there is none.

    Raises:
        ConfigError: As `load_policy`.
    """
    only(table, "the file", TOP_LEVEL)
    if type(table.get("version")) is not int or table["version"] != _VERSION:
        raise invalid("version", f"not {_VERSION}")
    name = read_text(table.get("name"), "name")
    not_after = read_moment(table.get("not_after"), "not_after")
    if at >= not_after:
        raise ConfigError(f"appraisal policy: {name} ended on {not_after}", code="policy.expired")
    profile = Profile(read_choice(table.get("profile", "production"), "profile", Profile))
    if table.get("require_nonce", True) is not True:
        raise invalid(
            "require_nonce",
            "not true: evidence that answers no challenge is never accepted",
        )
    return AppraisalPolicy(
        _requirement(table, name, not_after),
        name=name,
        not_after=not_after,
        file_sha256=file_sha256,
        profile=profile,
    )


def _requirement(table: Mapping[str, object], name: str, not_after: datetime) -> Requirement:
    workloads = read_workloads(
        table.get("workload"), name, measured_elsewhere=frozenset(table.keys() & {"azure"})
    )
    read = {kind: _read_platform(kind, table[kind]) for kind in READERS if kind in table}
    machines = _machines(table)
    branches: dict[str, Requirement] = {}
    for kind, platform in _PROCESSORS.items():
        reference = workloads.on(platform, not_after)
        if reference is not None:
            if kind not in read:
                raise invalid(f"[{kind}]", f"missing, but a workload lists {kind} measurements")
            branches[platform] = AllOf(
                MeasurementIn(reference), read[kind], *machines.get(kind, ())
            )
        elif kind in read and "azure" not in read:
            raise invalid(f"[{kind}]", f"of no use: no workload lists {kind} measurements")
    if "azure" in read:
        branches |= _azure(read, workloads, machines)
    parts: list[Requirement] = [ByPlatform(branches), NotDebuggable()]
    if "nvidia" in read:
        parts += [read["nvidia"], *machines.get("nvidia", ())]
    elif "nvidia" in machines:
        raise invalid("platforms.gpu_serials", "of no use without a table [nvidia]")
    if "key" in table:
        parts.append(_key(table["key"]))
    return AllOf(*parts)


def _azure(
    read: Mapping[str, Requirement],
    workloads: Workloads,
    machines: Mapping[str, tuple[Requirement, ...]],
) -> dict[str, Requirement]:
    """Add what Azure's guests must show: the launch measurement is Microsoft's there."""
    inner = [kind for kind in _AZURE if kind in read]
    if not inner:
        raise invalid("[azure]", "of no use without a table [snp] or [tdx]")
    return {
        _AZURE[kind]: AllOf(
            ManifestIn(workloads.name, workloads.manifests),
            read["azure"],
            read[kind],
            *machines.get(kind, ()),
        )
        for kind in inner
    }


def _read_platform(kind: str, value: object) -> Requirement:
    """Let the platform read its table, once it says nothing that no policy may say."""
    table = dict(read_table(value, f"[{kind}]"))
    if "allow_debug" in table and read_flag(table.pop("allow_debug"), f"{kind}.allow_debug"):
        raise ConfigError(
            f"appraisal policy: {kind}.allow_debug is true: the host of a debuggable enclave "
            "reads its memory, so no profile accepts one",
            code="policy.profile",
            hint="to try confide without hardware: confide up",
        )
    for key, (only_value, hint) in _STATEMENTS.get(kind, {}).items():
        if key in table and table.pop(key) is not only_value:
            raise invalid(f"{kind}.{key}", f"not {str(only_value).lower()}", hint=hint)
    read = cast("_Read", pkgutil.resolve_name(READERS[kind]))
    return read(table)


def _machines(table: Mapping[str, object]) -> dict[str, tuple[Requirement, ...]]:
    if "platforms" not in table:
        return {}
    listed = read_table(table["platforms"], "[platforms]")
    only(listed, "[platforms]", {"snp_chip_ids", "tdx_platform_ids", "gpu_serials"})
    found: dict[str, tuple[Requirement, ...]] = {}
    if "snp_chip_ids" in listed:
        found["snp"] = (MachineIn("chip_id", _ids(listed, "snp_chip_ids", _CHIP_ID)),)
    if "tdx_platform_ids" in listed:
        found["tdx"] = (MachineIn("platform_id", _ids(listed, "tdx_platform_ids", *_PLATFORM_IDS)),)
    if "gpu_serials" in listed:
        found["nvidia"] = (DeviceIn(_ids(listed, "gpu_serials", *range(1, 33))),)
    return found


def _ids(table: Mapping[str, object], key: str, *lengths: int) -> frozenset[str]:
    def one(value: object, where: str) -> str:
        return read_hex(value, where, *lengths).hex()

    return frozenset(read_each(table[key], f"platforms.{key}", one))


def _key(value: object) -> PinnedKey:
    table = read_table(value, "[key]")
    only(table, "[key]", {"document_sha256"})
    return PinnedKey(read_digest(table.get("document_sha256"), "key.document_sha256", 32))
