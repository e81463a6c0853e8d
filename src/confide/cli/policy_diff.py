"""What changed between two policies: what is looser now, tighter, or only different."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from confide.attest.policy_file import READERS
from confide.attest.policy_keys import KEYS, Direction, Key
from confide.cli.policy_words import show

__all__ = ["Change", "Effect", "differences"]

_MISSING: Final = object()
_TABLES: Final = ("snp.min_tcb", "azure.pcrs", "azure.vm")
"""Compared row by row."""
_UNKNOWN: Final = Key("", Direction.NEUTRAL)


class Effect(StrEnum):
    """What a change does to what is accepted."""

    LOOSENED = "loosened"
    TIGHTENED = "tightened"
    CHANGED = "changed"


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        path: Key in the file.
        effect: Loosened, tightened, or changed (which is neither, or both).
        before: For people.
        after: For people.
    """

    path: str
    effect: Effect
    before: str
    after: str

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "path": self.path,
            "effect": str(self.effect),
            "before": self.before,
            "after": self.after,
        }


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[Change]:
    """Compare two policy files that were accepted.

    Absent keys count with their meaning, so a key written out at its default is no change.
    """
    found = [
        *_workloads(old.get("workload"), new.get("workload")),
        *_whole_tables(old, new),
    ]
    before, after = dict(_flat(old)), dict(_flat(new))
    for path in sorted(before.keys() | after.keys()):
        group = path.partition(".")[0]
        if group in READERS and (group not in old or group not in new):
            continue  # said once, for the table
        found += _compare(path, before.get(path, _MISSING), after.get(path, _MISSING))
    return sorted(found, key=lambda change: (list(Effect).index(change.effect), change.path))


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for path, key in KEYS.items():
        group, _, name = path.partition(".")
        if not name and path != "workload":
            yield path, table.get(path, key.default)
        elif isinstance(table.get(group), Mapping) and path not in _TABLES:
            yield path, _of(table, group, name, key)
    for kind in READERS:
        inner = table.get(kind)
        if not isinstance(inner, Mapping):
            continue
        for name, value in inner.items():
            if f"{kind}.{name}" not in KEYS:
                yield f"{kind}.{name}", value
        for path in _TABLES:
            group, _, name = path.partition(".")
            rows = inner.get(name) if group == kind else None
            if isinstance(rows, Mapping):
                yield from ((f"{path}.{row}", value) for row, value in rows.items())


def _of(table: Mapping[str, object], group: str, name: str, key: Key) -> object:
    inner = table[group]
    value = inner.get(name, key.default) if isinstance(inner, Mapping) else key.default
    return _MISSING if value is None else value


def _compare(path: str, before: object, after: object) -> Iterator[Change]:
    if before is not _MISSING and after is not _MISSING and before == after:
        return
    if before is after:
        return
    if ".min_tcb." in path:
        yield from _floors(path, before, after)
        return
    # A row of a table means what its table means.
    key = KEYS.get(path) or KEYS.get(path.rpartition(".")[0]) or _UNKNOWN
    if key.direction in (Direction.ACCEPTED, Direction.NARROWING):
        yield from _lists(path, key, before, after)
        return
    yield _change(path, _effect(key, before, after), before, after)


def _effect(key: Key, before: object, after: object) -> Effect:
    """Say which way a single value moved."""
    old, new = _rank(key, before), _rank(key, after)
    if old is None or new is None or type(old) is not type(new) or old == new:
        return Effect.CHANGED
    return Effect.LOOSENED if new > old else Effect.TIGHTENED  # type: ignore[operator]


def _rank(key: Key, value: object) -> object:
    """Return a value that grows as the demand loosens, or None if it has no order."""
    if key.direction is Direction.ORDERED and value in key.values:
        return key.values.index(str(value))
    if key.direction is Direction.PERMISSION and isinstance(value, bool):
        return int(value)
    if key.direction is Direction.DEMAND and isinstance(value, bool):
        return int(not value)
    if key.direction is Direction.CEILING and isinstance(value, datetime):
        return value.timestamp()
    if key.direction is Direction.CEILING and isinstance(value, int):
        return value
    if key.direction is Direction.FLOOR:
        return _floor_rank(value)
    return None


def _floor_rank(value: object) -> object:
    if type(value) is int:
        return -value
    if isinstance(value, str) and all(part.isdecimal() for part in value.split(".")):
        return tuple(-int(part) for part in value.split("."))
    return None


def _lists(path: str, key: Key, before: object, after: object) -> Iterator[Change]:
    """Compare lists entry by entry; a narrowing list that is absent accepts everything."""
    if _MISSING in (before, after):
        narrowing = key.direction is Direction.NARROWING
        loosened = (after is _MISSING) == narrowing
        yield _change(path, Effect.LOOSENED if loosened else Effect.TIGHTENED, before, after)
        return
    old, new = _entries(before), _entries(after)
    for entry in sorted(new.keys() - old.keys()):
        yield Change(path, Effect.LOOSENED, "-", new[entry])
    for entry in sorted(old.keys() - new.keys()):
        yield Change(path, Effect.TIGHTENED, old[entry], "-")


def _entries(value: object) -> dict[str, str]:
    listed = value if isinstance(value, list) else [value]
    return {json.dumps(one, sort_keys=True, default=str).lower(): show(one) for one in listed}


def _floors(path: str, before: object, after: object) -> Iterator[Change]:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        # A product without a floor is refused, so a floor that appears accepts more.
        effect = Effect.LOOSENED if before is _MISSING else Effect.TIGHTENED
        yield _change(path, effect, before, after)
        return
    floor = Key("", Direction.FLOOR)
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _MISSING), after.get(name, _MISSING)
        if old != new:
            yield _change(f"{path}.{name}", _effect(floor, old, new), old, new)


def _whole_tables(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    for kind in READERS:
        if (kind in old) == (kind in new):
            continue
        # A table of a processor admits its platform; the table of GPUs demands them.
        admits = kind != "nvidia"
        loosened = (kind in new) == admits
        yield Change(
            f"[{kind}]",
            Effect.LOOSENED if loosened else Effect.TIGHTENED,
            "listed" if kind in old else "-",
            "listed" if kind in new else "-",
        )


def _workloads(before: object, after: object) -> Iterator[Change]:
    old, new = dict(_values(before)), dict(_values(after))
    for value in sorted(new.keys() - old.keys()):
        yield Change("workload", Effect.LOOSENED, "-", new[value])
    for value in sorted(old.keys() - new.keys()):
        yield Change("workload", Effect.TIGHTENED, old[value], "-")


def _values(value: object) -> Iterator[tuple[str, str]]:
    """Yield what is accepted: manifest with measurement. Names and counts are for people."""
    for one in value if isinstance(value, list) else []:
        manifest = str(one.get("manifest_sha256")).lower()
        label = f"{one.get('name')} (manifest {manifest[:12]}...)"
        yield f"{manifest} manifest", label
        for row in one.get("snp", []):
            measurement = str(row.get("measurement")).lower()
            shape = f"{row.get('product')} {measurement[:12]}..."
            yield f"{manifest} {row.get('product')} {measurement}", f"{one.get('name')} {shape}"
        for row in one.get("tdx", []):
            fixed = " ".join(
                str(row.get(name)).lower() for name in ("mr_td", "rtmr1", "rtmr2", "rtmr3")
            )
            for rtmr0 in row.get("rtmr0", []):
                shape = f"TDX {str(row.get('mr_td'))[:12]}... rtmr0 {str(rtmr0)[:12]}..."
                yield f"{manifest} {fixed} {str(rtmr0).lower()}", f"{one.get('name')} {shape}"


def _change(path: str, effect: Effect, before: object, after: object) -> Change:
    old, new = ("-" if one is _MISSING or one is None else show(one) for one in (before, after))
    return Change(path, effect, old, new)
