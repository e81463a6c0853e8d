"""Add NVIDIA's reference values to a policy file, and leave the rest of its text alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from confide.attest.policy_defaults import NVIDIA_TABLE
from confide.attest.policy_file import parse
from confide.cli.new_files import read_file

__all__ = ["with_golden"]


def with_golden(
    raw: bytes, *, driver: Path | None, vbios: Path, at: datetime
) -> tuple[bytes, dict[str, object]]:
    """Verify the manifests and append their table to the text of a policy.

    Args:
        raw: The policy file. A table `[nvidia]` is added if it has none.
        driver: Driver manifest; None for an NVSwitch.
        vbios: VBIOS manifest.
        at: When to verify them.

    Returns:
        The new text, and a record of what was added. The same text if it was there before.

    Raises:
        EndorsementError: A manifest is not genuine, out of date, or does not fit.
        ConfigError: The policy is no TOML, or the extra is missing.
    """
    from confide.attest.platforms.nvidia.rim import MAX_RIM, golden_from, import_rim

    def rim(path: Path) -> bytes:
        return read_file(path, limit=MAX_RIM)

    golden = golden_from(
        None if driver is None else import_rim(rim(driver), at), import_rim(rim(vbios), at)
    )
    table = {key: value for key, value in golden.to_table().items() if value}
    present = parse(raw).get("nvidia")
    listed = present.get("golden", []) if isinstance(present, Mapping) else []
    measurements = table["measurements"]
    record: dict[str, object] = {
        "driver": golden.driver or None,
        "vbios": golden.vbios,
        "measurements": len(measurements) if isinstance(measurements, Mapping) else 0,
        "added": table not in listed,
    }
    if table in listed:
        return raw, record
    text = raw if raw.endswith(b"\n") else raw + b"\n"
    if present is None:
        text += b"\n" + NVIDIA_TABLE.encode()
    return text + b"\n" + _toml(table, at).encode(), record


def _toml(table: Mapping[str, object], at: datetime) -> str:
    lines = [f"# Verified as of {at:%Y-%m-%d} by confide policy import-rim.", "[[nvidia.golden]]"]
    lines += [f"{key} = {json.dumps(table[key])}" for key in table if key != "measurements"]
    lines.append("[nvidia.golden.measurements]")
    measurements = table["measurements"]
    if isinstance(measurements, Mapping):
        lines += [f"{json.dumps(index)} = {json.dumps(one)}" for index, one in measurements.items()]
    return "\n".join(lines) + "\n"
