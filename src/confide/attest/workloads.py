"""Read the workloads of a policy file: which programs are accepted, on which machines.

    [[workload]]                       # any one must match completely
    name = "confide-0.1.0"
    manifest_sha256 = "<64 hex digits>"
    snp = [{ product = "Genoa", vcpus = 16, measurement = "<96 hex digits>" }]
    tdx = [{ mr_td = "<96>", rtmr0 = ["<96>"], rtmr1 = "<96>", rtmr2 = "<96>", rtmr3 = "zero" }]

`rtmr0` differs with the machine's shape, so it is a list of alternatives. Only `rtmr3`,
which nothing but the application extends, may be "zero": a TD whose other registers are
zero did not measure what it started.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from confide.attest.measurements import REGISTER_LENGTH
from confide.attest.policy_values import (
    invalid,
    only,
    read_digest,
    read_each,
    read_integer,
    read_table,
    read_text,
)
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.errors import ConfigError

__all__ = ["SNP_PRODUCTS", "Workloads", "read_workloads"]

T = TypeVar("T")

SNP_PRODUCTS: Final = ("Genoa", "Milan", "Turin")
"""Products of the SEV-SNP certificates; Bergamo and Siena carry Genoa's."""

_ZERO: Final = "zero"
_MAX_VALUES: Final = 4096


@dataclass(frozen=True)
class Workloads:
    """Every accepted workload, by platform.

    Attributes:
        name: Of the policy.
        values: Reference values with a measurement.
        manifests: Digest of each workload's manifest, 32 bytes, measured or not.
    """

    name: str
    values: tuple[ReferenceValue, ...] = field(repr=False)
    manifests: frozenset[bytes] = field(repr=False)

    def on(self, platform: str, not_after: datetime) -> ReferenceValues | None:
        """Return the reference values of one platform, or None if there are none."""
        found = tuple(value for value in self.values if value.platform == platform)
        return ReferenceValues(self.name, not_after, found) if found else None


def read_workloads(value: object, policy: str, *, measured_elsewhere: frozenset[str]) -> Workloads:
    """Read `[[workload]]`.

    Args:
        value: The list of tables.
        policy: Name of the policy.
        measured_elsewhere: Tables of the file that measure workloads themselves, such as
            "azure". Without one, a workload without a measurement is refused.

    Raises:
        ConfigError: policy.no_workload, policy.unknown_key or policy.invalid.
    """
    if not isinstance(value, list) or not value:
        raise ConfigError(
            "appraisal policy: no workload: an absent expectation is a refusal",
            code="policy.no_workload",
        )
    names: set[str] = set()
    manifests: set[bytes] = set()
    values: list[ReferenceValue] = []
    for one in value:
        table = read_table(one, "workload")
        only(table, "workload", {"name", "manifest_sha256", "snp", "tdx"})
        name = read_text(table.get("name"), "workload.name")
        if name in names:
            raise invalid("workload.name", f"{name!r} twice")
        names.add(name)
        manifest = read_digest(table.get("manifest_sha256"), f"manifest_sha256 of {name}", 32)
        manifests.add(manifest)
        measured = [*_snp(table, name, manifest), *_tdx(table, name, manifest)]
        if not measured and not measured_elsewhere:
            raise ConfigError(
                f"appraisal policy: workload {name} lists no measurement",
                code="policy.no_workload",
                hint="list snp = [...] or tdx = [...]",
            )
        values += measured
    if len(values) > _MAX_VALUES:
        raise invalid("workload", f"a list of more than {_MAX_VALUES} measurements")
    return Workloads(policy, tuple(values), frozenset(manifests))


def _listed(value: object, where: str, entry: Callable[[object, str], T]) -> tuple[T, ...]:
    if value == []:
        raise ConfigError(
            f"appraisal policy: {where} is an empty list: an absent expectation is a refusal",
            code="policy.no_workload",
        )
    return read_each(value, where, entry)


def _snp(table: Mapping[str, object], name: str, manifest: bytes) -> list[ReferenceValue]:
    if "snp" not in table:
        return []

    def entry(value: object, where: str) -> ReferenceValue:
        row = read_table(value, where)
        only(row, where, {"product", "vcpus", "measurement"})
        if "vcpus" in row:
            read_integer(row["vcpus"], f"{where}.vcpus", low=1, high=4096)
        product = read_text(row.get("product"), f"{where}.product")
        if product not in SNP_PRODUCTS:
            raise invalid(f"{where}.product", f"not one of {', '.join(SNP_PRODUCTS)}")
        measurement = read_digest(row.get("measurement"), f"{where}.measurement", 48)
        return ReferenceValue(name, "sev-snp", measurement, manifest, product)

    return list(_listed(table["snp"], f"snp of {name}", entry))


def _tdx(table: Mapping[str, object], name: str, manifest: bytes) -> list[ReferenceValue]:
    if "tdx" not in table:
        return []

    def register(value: object, where: str) -> bytes:
        return read_digest(value, where, REGISTER_LENGTH)

    def entry(value: object, where: str) -> list[ReferenceValue]:
        row = read_table(value, where)
        only(row, where, {"mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"})
        rtmr3 = row.get("rtmr3")
        alternatives = (
            (register(row.get("mr_td"), f"{where}.mr_td"),),
            read_each(row.get("rtmr0"), f"{where}.rtmr0", register),
            (register(row.get("rtmr1"), f"{where}.rtmr1"),),
            (register(row.get("rtmr2"), f"{where}.rtmr2"),),
            (
                bytes(REGISTER_LENGTH)
                if rtmr3 == _ZERO
                else register(rtmr3, f"{where}.rtmr3 (or {_ZERO!r})"),
            ),
        )
        return [
            ReferenceValue(name, "tdx", b"".join(registers), manifest)
            for registers in itertools.product(*alternatives)
        ]

    return [one for row in _listed(table["tdx"], f"tdx of {name}", entry) for one in row]
