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
from collections.abc import Iterable, Mapping
from typing import Final

from confide.attest.platforms.nvidia.golden import MAX_INDEX, GoldenSet
from confide.attest.platforms.nvidia.requirements import (
    Architectures,
    ConfidentialMode,
    DeviceCount,
    GoldenMeasurements,
    IfAnyDevice,
    Modes,
    NotRevoked,
)
from confide.attest.policy import AllOf, Requirement
from confide.errors import ConfigError

__all__ = ["read"]

_KEYS: Final = ("arch", "count", "golden", "modes", "required", "revocation", "switches")
_GOLDEN_KEYS: Final = ("driver", "measurements", "rim_sha256", "vbios")
_MODES: Final = ("SPT", "MPT", "PPCIE")
_ARCHITECTURES: Final = ("HOPPER", "BLACKWELL")
_REVOCATION: Final = {"stapled-ocsp": "ocsp", "crl": "crl", "none": "none"}
_MAX_DEVICES: Final = 16
_MAX_SETS: Final = 64
_MAX_ALTERNATIVES: Final = 64
_DRIVER: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,4}")
_VBIOS: Final = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_MEASUREMENT: Final = re.compile(r"[0-9a-f]{96}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def read(table: Mapping[str, object]) -> Requirement:
    """Turn the table into what is demanded.

    Args:
        table: As `tomllib` returns it.

    Raises:
        ConfigError: policy.unknown_key or policy.invalid.
    """
    _only(table, "[nvidia]", _KEYS)
    required = table.get("required", True)
    if not isinstance(required, bool):
        raise _invalid("nvidia.required", "neither true nor false")
    modes = frozenset(_words(table.get("modes"), "nvidia.modes", _MODES))
    switches = _number(table.get("switches", 0), "nvidia.switches", 0)
    if "PPCIE" in modes and not switches:
        raise _invalid("nvidia.switches", "0, but mode PPCIE needs the NVSwitches counted")
    method = table.get("revocation")
    if not isinstance(method, str) or method not in _REVOCATION:
        raise _invalid("nvidia.revocation", f"not one of {', '.join(_REVOCATION)}")
    demands = AllOf(
        DeviceCount(_number(table.get("count"), "nvidia.count", 1), switches),
        ConfidentialMode(),
        Modes(modes),
        Architectures(frozenset(_words(table.get("arch"), "nvidia.arch", _ARCHITECTURES))),
        NotRevoked(_REVOCATION[method]),
        GoldenMeasurements(_golden_sets(table.get("golden"))),
    )
    return demands if required else IfAnyDevice(demands)


def _golden_sets(value: object) -> tuple[GoldenSet, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_SETS:
        raise _invalid(
            "nvidia.golden",
            f"no list of 1 to {_MAX_SETS} tables; confide policy import-rim adds one",
        )
    return tuple(_golden(one, f"nvidia.golden[{number}]") for number, one in enumerate(value))


def _golden(value: object, where: str) -> GoldenSet:
    if not isinstance(value, Mapping):
        raise _invalid(where, "no table")
    _only(value, where, _GOLDEN_KEYS)
    driver = value.get("driver", "")
    if not isinstance(driver, str) or (driver and not _DRIVER.fullmatch(driver)):
        raise _invalid(f"{where}.driver", 'not a version such as "550.90.07"')
    vbios = value.get("vbios")
    if not isinstance(vbios, str) or not _VBIOS.fullmatch(vbios):
        raise _invalid(f"{where}.vbios", 'not a version such as "96.00.9F.00.01"')
    return GoldenSet(
        driver=driver,
        vbios=vbios,
        measurements=_measurements(value.get("measurements"), f"{where}.measurements"),
        rim_sha256=tuple(
            _texts(value.get("rim_sha256", []), f"{where}.rim_sha256", _SHA256, least=0)
        ),
    )


def _measurements(value: object, where: str) -> Mapping[int, tuple[str, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise _invalid(where, "missing, empty or no table")
    found = {}
    for index, listed in value.items():
        if not _INDEX.fullmatch(str(index)) or int(index) > MAX_INDEX:
            raise _invalid(where, f"with an index that is no number up to {MAX_INDEX}")
        found[int(index)] = tuple(_texts(listed, f"{where}.{index}", _MEASUREMENT, least=1))
    return found


def _texts(value: object, where: str, form: re.Pattern[str], *, least: int) -> list[str]:
    if not isinstance(value, list) or not least <= len(value) <= _MAX_ALTERNATIVES:
        raise _invalid(where, f"no list of {least} to {_MAX_ALTERNATIVES} values")
    for one in value:
        if not isinstance(one, str) or not form.fullmatch(one):
            raise _invalid(where, f"not lower-case hex of the form {form.pattern}")
    return value


def _words(value: object, where: str, known: Iterable[str]) -> list[str]:
    accepted = set(known)
    if not isinstance(value, list) or not value or not set(map(str, value)) <= accepted:
        raise _invalid(where, f"no list of {', '.join(sorted(accepted))}")
    return [str(one) for one in value]


def _number(value: object, where: str, low: int) -> int:
    if type(value) is not int or not low <= value <= _MAX_DEVICES:
        raise _invalid(where, f"not a number from {low} to {_MAX_DEVICES}")
    return value


def _only(table: Mapping[str, object], where: str, names: Iterable[str]) -> None:
    unknown = sorted(str(name) for name in table.keys() - set(names))
    if unknown:
        raise ConfigError(
            f"appraisal policy: {where} has unknown keys: {', '.join(unknown)}",
            code="policy.unknown_key",
            hint=f"known: {', '.join(sorted(names))}",
        )


def _invalid(where: str, problem: str) -> ConfigError:
    return ConfigError(f"appraisal policy: {where} is {problem}", code="policy.invalid")
