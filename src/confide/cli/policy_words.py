"""What a policy demands, in words, and what is worth a second look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from confide.attest.policy_file import READERS
from confide.attest.policy_keys import KEYS

__all__ = ["demands", "warnings"]

_SOON: Final = timedelta(days=30)
_PLATFORMS: Final = {"snp": "AMD SEV-SNP", "tdx": "Intel TDX", "azure": "Azure", "nvidia": "NVIDIA"}


def demands(table: Mapping[str, object]) -> list[str]:
    """Say one sentence for each thing that the policy demands.

    Args:
        table: A policy file that was accepted.
    """
    said = ["a debuggable enclave is refused", "evidence that answers no challenge is refused"]
    said += [f"workload {line}" for line in _workloads(table)]
    for kind in (*READERS, "platforms", "key"):
        inner = table.get(kind)
        if isinstance(inner, Mapping):
            said += _table(kind, inner)
    if "nvidia" not in table:
        said.append("no GPU is demanded")
    return said


def _workloads(table: Mapping[str, object]) -> Iterator[str]:
    for one in _tables(table.get("workload")):
        machines = [
            f"SEV-SNP on {row.get('product')}"
            + (f" with {row['vcpus']} vCPUs" if "vcpus" in row else "")
            for row in _tables(one.get("snp"))
        ]
        machines += ["TDX" for _ in _tables(one.get("tdx"))]
        yield f"{one.get('name')}: {', '.join(dict.fromkeys(machines)) or 'measured on Azure'}"


def _table(kind: str, inner: Mapping[str, object]) -> Iterator[str]:
    for path, key in KEYS.items():
        group, _, name = path.partition(".")
        if group != kind or not name:
            continue
        value = inner.get(name, key.default)
        if value is None or key.form.endswith("the only value"):
            continue
        yield f"{key.says} {show(value)}"


def show(value: object) -> str:
    """Write a value shortly: booleans as words, tables as their keys, long hex cut."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(
            f"{name} ({show(one)})" if isinstance(one, Mapping) else f"{name} {show(one)}"
            for name, one in value.items()
        )
    if isinstance(value, list):
        if all(isinstance(one, Mapping) for one in value):
            return f"{len(value)} listed"
        return ", ".join(show(one) for one in value)
    text = str(value)
    return f"{text[:12]}..." if len(text) > 40 else text


def warnings(table: Mapping[str, object], *, not_after: datetime, at: datetime) -> list[str]:
    """List what the loader accepts and a reader should know.

    Args:
        table: A policy file that was accepted.
        not_after: Its end.
        at: Now.
    """
    found = []
    if not_after - at < _SOON:
        found.append(
            f"it ends in {(not_after - at).days} days, on {not_after.astimezone(UTC):%Y-%m-%d}"
        )
    if table.get("profile") == "lab":
        found.append("it is for the lab: every result says that it is no statement on production")
    listed = table.get("platforms")
    machines = listed if isinstance(listed, Mapping) else {}
    for kind, key in (
        ("snp", "snp_chip_ids"),
        ("tdx", "tdx_platform_ids"),
        ("nvidia", "gpu_serials"),
    ):
        if kind in table and key not in machines:
            found.append(
                f"any {_PLATFORMS[kind]} machine may answer: whoever can touch one physically can "
                f"fake it; if you know yours, list them under platforms.{key}"
            )
    return found + [line for kind in READERS for line in _of_table(kind, table.get(kind))]


_REMARKS: Final = {
    ("snp", "crl", "optional"): "withdrawn AMD keys are found only if a list is at hand",
    ("snp", "allow_migration_agent", True): "a migration agent may move the guest's memory",
    ("snp", "require_alias_check", False): "memory aliasing (BadRAM) is not ruled out",
    ("tdx", "sept_ve", "paravisor"): "page faults are the paravisor's, so the cloud's, to see",
    ("nvidia", "required", False): "an enclave without GPUs is accepted as well",
    ("nvidia", "revocation", "none"): "a withdrawn GPU is not noticed",
}


def _of_table(kind: str, inner: object) -> Iterator[str]:
    if not isinstance(inner, Mapping):
        return
    for (group, key, value), remark in _REMARKS.items():
        if group == kind and inner.get(key) == value and type(inner.get(key)) is type(value):
            yield f"{kind}.{key} = {show(value)}: {remark}"
    floors = inner.get("min_tcb")
    if isinstance(floors, Mapping) and any(str(name).startswith("Milan") for name in floors):
        yield "snp.min_tcb lists Milan, which the default policy refuses"
    if "service_td" in inner:
        yield "tdx.service_td: a service TD may read or move the guest"
    statuses = inner.get("allow_status")
    if isinstance(statuses, list) and any(one != "UpToDate" for one in statuses):
        yield "tdx.allow_status accepts platforms that Intel does not call up to date"


def _tables(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
