"""Read an appraisal policy from a TOML file.

    version = 1
    name = "production-2026-11"
    not_after = 2027-02-01T00:00:00Z

    [[workload]]                       # any one must match completely
    name = "confide-0.1.0"
    manifest_sha256 = "<64 hex digits>"
    measurements = { sev-snp = ["<96 hex digits>"] }

    [min_tcb.sev-snp.Genoa]            # lowest accepted version of every component
    bootloader = 10
    tee = 0
    snp = 23
    microcode = 84

    [gpu]                              # leave out if the workload uses no GPU
    count = 1

    [key]                              # leave out unless one key document is pinned
    document_sha256 = "<64 hex digits>"

Debuggable enclaves are always refused and a nonce is always demanded: no key of the file
says otherwise. Unknown keys, wildcards, empty lists and an expired file are refused. The
SHA-256 of the file is the policy's digest.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from confide.attest.evidence import EvidenceKind
from confide.attest.policy import AllOf, AppraisalPolicy, Requirement
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.attest.requirements import (
    GpuConfidential,
    MeasurementIn,
    MinimumTcb,
    NotDebuggable,
    PinnedKey,
    TcbFloor,
)
from confide.errors import ConfigError

__all__ = ["MAX_POLICY", "PLATFORM_TYPES", "load_policy", "read_policy"]

MAX_POLICY: Final = 256 * 1024
PLATFORM_TYPES: Final = ("azure-sev-snp", "azure-tdx", "sev-snp", "tdx")
"""Types a policy may name; whether this version verifies them is the verifier's business."""

_VERSION = 1
_HEX = frozenset("0123456789abcdefABCDEF")


def read_policy(path: Path, *, at: datetime) -> AppraisalPolicy:
    """Read a policy file.

    Raises:
        ConfigError: It cannot be read, or `load_policy` refuses it.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the policy {path}: {error.strerror}") from error
    return load_policy(raw, at=at)


def load_policy(raw: bytes, *, at: datetime) -> AppraisalPolicy:
    """Read a policy.

    Args:
        raw: TOML, at most 256 KiB.
        at: Now; an expired policy is refused here already.

    Raises:
        ConfigError: policy.unknown_key, policy.no_workload, policy.expired or
            policy.invalid.
    """
    table = _parse(raw)
    _only(table, "the file", {"version", "name", "not_after", "workload", "min_tcb", "gpu", "key"})
    if type(table.get("version")) is not int or table["version"] != _VERSION:
        raise ConfigError(f"appraisal policy: version is not {_VERSION}", code="policy.invalid")
    name = _text(table.get("name"), "name")
    not_after = table.get("not_after")
    if not isinstance(not_after, datetime) or not_after.tzinfo is None:
        raise ConfigError(
            "appraisal policy: not_after is not a date and time with a time zone",
            code="policy.invalid",
        )
    if at >= not_after:
        raise ConfigError(f"appraisal policy: {name} ended on {not_after}", code="policy.expired")
    parts: list[Requirement] = [
        MeasurementIn(ReferenceValues(name, not_after, _workloads(table.get("workload")))),
        MinimumTcb(_floors(table.get("min_tcb"))),
        NotDebuggable(),
    ]
    if "gpu" in table:
        parts.append(_gpu(table["gpu"]))
    if "key" in table:
        parts.append(_key(table["key"]))
    return AppraisalPolicy(
        AllOf(*parts),
        name=name,
        not_after=not_after,
        file_sha256=hashlib.sha256(raw).digest(),
    )


def _parse(raw: bytes) -> Mapping[str, object]:
    if len(raw) > MAX_POLICY:
        raise ConfigError(
            f"appraisal policy: larger than {MAX_POLICY} bytes", code="policy.invalid"
        )
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"appraisal policy: not TOML: {error}", code="policy.invalid") from None


def _only(table: Mapping[str, object], where: str, names: Iterable[str]) -> None:
    unknown = sorted(table.keys() - set(names))
    if unknown:
        raise ConfigError(
            f"appraisal policy: {where} has unknown keys: {', '.join(unknown)}",
            code="policy.unknown_key",
        )


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"appraisal policy: {where} is missing or empty", code="policy.invalid")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 128 or not value.isprintable():
        raise ConfigError(f"appraisal policy: {where} is not a short text", code="policy.invalid")
    return value


def _digest(value: object, where: str, lengths: tuple[int, ...]) -> bytes:
    """Read hexadecimal of an exact length; nothing else, so no wildcard fits."""
    wanted = {2 * length for length in lengths}
    if not isinstance(value, str) or len(value) not in wanted or not set(value) <= _HEX:
        listed = " or ".join(str(digits) for digits in sorted(wanted))
        raise ConfigError(
            f"appraisal policy: {where} is not {listed} hex digits", code="policy.invalid"
        )
    if len(set(bytes.fromhex(value))) == 1:
        raise ConfigError(
            f"appraisal policy: {where} repeats one byte, so it is no digest", code="policy.invalid"
        )
    return bytes.fromhex(value)


def _platform(name: str) -> str:
    if name == EvidenceKind.SOFTWARE_DEV or name not in PLATFORM_TYPES:
        known = ", ".join(PLATFORM_TYPES)
        raise ConfigError(
            f"appraisal policy: {name!r} is not a hardware platform; known: {known}",
            code="policy.unknown_key",
        )
    return name


def _workloads(value: object) -> tuple[ReferenceValue, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(
            "appraisal policy: no workload: an absent expectation is a refusal",
            code="policy.no_workload",
        )
    return tuple(found for workload in value for found in _workload(workload))


def _workload(value: object) -> list[ReferenceValue]:
    table = _table(value, "workload")
    _only(table, "workload", {"name", "manifest_sha256", "measurements"})
    name = _text(table.get("name"), "workload.name")
    manifest = _digest(table.get("manifest_sha256"), f"manifest_sha256 of {name}", (32,))
    found = []
    for platform, listed in _table(table.get("measurements"), f"measurements of {name}").items():
        if not isinstance(listed, list) or not listed:
            raise ConfigError(
                f"appraisal policy: {name} lists no measurement for {platform}",
                code="policy.no_workload",
            )
        for one in listed:
            measurement = _digest(one, f"measurement of {name}", (32, 48, 64))
            found.append(ReferenceValue(name, _platform(platform), measurement, manifest))
    return found


def _floors(value: object) -> tuple[TcbFloor, ...]:
    return tuple(
        TcbFloor(_platform(platform), _text(product, "product"), _components(floor, product))
        for platform, products in _table(value, "min_tcb").items()
        for product, floor in _table(products, f"min_tcb.{platform}").items()
    )


def _components(value: object, product: str) -> Mapping[str, int]:
    components: dict[str, int] = {}
    for name, lowest in _table(value, f"min_tcb of {product}").items():
        if type(lowest) is not int or not 0 <= lowest <= 255:
            raise ConfigError(
                f"appraisal policy: {name} of {product} is not a number from 0 to 255",
                code="policy.invalid",
            )
        components[name] = lowest
    return components


def _gpu(value: object) -> GpuConfidential:
    table = _table(value, "gpu")
    _only(table, "gpu", {"count"})
    count = table.get("count")
    if type(count) is not int or not 1 <= count <= 16:
        raise ConfigError(
            "appraisal policy: gpu.count is not a number from 1 to 16", code="policy.invalid"
        )
    return GpuConfidential(count)


def _key(value: object) -> PinnedKey:
    table = _table(value, "key")
    _only(table, "key", {"document_sha256"})
    return PinnedKey(_digest(table.get("document_sha256"), "key.document_sha256", (32,)))
