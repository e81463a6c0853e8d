"""Read the table `[nvidia]` of a policy file.

    [nvidia]
    required = true                    # false: an enclave without GPUs is accepted as well
    count = 1                          # GPUs, exactly
    switches = 0                       # NVSwitches, exactly; needed by mode PPCIE
    modes = ["SPT"]                    # SPT, MPT, PPCIE
    arch = ["HOPPER", "BLACKWELL"]
    revocation = "stapled-ocsp"        # or "crl", or "none", which shows as a warning

    [[nvidia.golden]]                  # written by: confide policy import-rim
    driver = "550.90.07"               # leave out for an NVSwitch
    vbios = "96.00.9F.00.01"
    rim_sha256 = ["<64 hex digits>"]   # a record of where the values came from
    measurements = { "0" = ["<96 hex digits>"] }

Nothing has a default that accepts more: `count`, `modes`, `arch`, `revocation` and `golden`
must be there. Confidential mode, no developer tools and the production environment are
always demanded; there is no key for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from confide.attest.platforms.nvidia.golden import HASH_LENGTH, MAX_INDEX, GoldenSet
from confide.attest.platforms.nvidia.requirements import (
    Architectures,
    ConfidentialMode,
    DeviceCount,
    FirmwareNamed,
    GoldenMeasurements,
    IfAnyDevice,
    Modes,
    NotRevoked,
)
from confide.attest.policy import AllOf, Requirement
from confide.attest.policy_values import (
    invalid,
    only,
    read_choice,
    read_each,
    read_flag,
    read_hex,
    read_integer,
    read_table,
)

__all__ = ["KEYS", "read"]

KEYS: Final = (
    "required",
    "count",
    "switches",
    "modes",
    "arch",
    "firmware_id",
    "revocation",
    "golden",
)
"""Keys of the table."""

_GOLDEN_KEYS: Final = ("driver", "vbios", "rim_sha256", "measurements")
_MODES: Final = ("SPT", "MPT", "PPCIE")
_ARCHITECTURES: Final = ("HOPPER", "BLACKWELL")
_REVOCATION: Final = {"stapled-ocsp": "ocsp", "crl": "crl", "none": "none"}
_MAX_DEVICES: Final = 16
_DRIVER: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,4}")
_VBIOS: Final = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,2}")


def read(table: Mapping[str, object]) -> Requirement:
    """Turn the table into what is demanded.

    Args:
        table: As `tomllib` returns it.

    Raises:
        ConfigError: policy.unknown_key or policy.invalid.
    """
    only(table, "[nvidia]", KEYS)
    modes = frozenset(read_each(table.get("modes"), "nvidia.modes", _mode))
    switches = read_integer(table.get("switches", 0), "nvidia.switches", low=0, high=_MAX_DEVICES)
    if "PPCIE" in modes and not switches:
        raise invalid("nvidia.switches", "0, but mode PPCIE needs the NVSwitches counted")
    method = read_choice(table.get("revocation"), "nvidia.revocation", _REVOCATION)
    named = read_choice(
        table.get("firmware_id", "required"), "nvidia.firmware_id", ("required", "optional")
    )
    demands = AllOf(
        DeviceCount(
            read_integer(table.get("count"), "nvidia.count", low=1, high=_MAX_DEVICES), switches
        ),
        ConfidentialMode(),
        Modes(modes),
        Architectures(frozenset(read_each(table.get("arch"), "nvidia.arch", _architecture))),
        *((FirmwareNamed(),) if named == "required" else ()),
        NotRevoked(_REVOCATION[method]),
        GoldenMeasurements(read_each(table.get("golden"), "nvidia.golden", _golden)),
    )
    required = read_flag(table.get("required", True), "nvidia.required")
    return demands if required else IfAnyDevice(demands)


def _mode(value: object, where: str) -> str:
    return read_choice(value, where, _MODES)


def _architecture(value: object, where: str) -> str:
    return read_choice(value, where, _ARCHITECTURES)


def _golden(value: object, where: str) -> GoldenSet:
    table = read_table(value, where)
    only(table, where, _GOLDEN_KEYS)
    measurements = read_table(table.get("measurements"), f"{where}.measurements")
    listed = table.get("rim_sha256", [])
    return GoldenSet(
        driver=_version(table.get("driver", ""), f"{where}.driver", _DRIVER, empty=""),
        vbios=_version(table.get("vbios"), f"{where}.vbios", _VBIOS),
        measurements={
            _index(index, where): read_each(values, f"{where}.measurements.{index}", _measurement)
            for index, values in measurements.items()
        },
        rim_sha256=read_each(listed, f"{where}.rim_sha256", _digest) if listed != [] else (),
    )


def _version(value: object, where: str, form: re.Pattern[str], *, empty: str | None = None) -> str:
    """Read a version; `empty` is what is accepted beside it."""
    if not isinstance(value, str) or (value != empty and not form.fullmatch(value)):
        raise invalid(where, f"no version of the form {form.pattern}")
    return value


def _index(value: object, where: str) -> int:
    if not isinstance(value, str) or not _INDEX.fullmatch(value) or int(value) > MAX_INDEX:
        raise invalid(f"{where}.measurements", f"with an index that is no number to {MAX_INDEX}")
    return int(value)


def _measurement(value: object, where: str) -> str:
    # Zeros are a genuine value here: some slots of a device measure nothing.
    return read_hex(value, where, HASH_LENGTH).hex()


def _digest(value: object, where: str) -> str:
    return read_hex(value, where, 32).hex()
