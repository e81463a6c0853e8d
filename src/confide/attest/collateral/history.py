"""Remember the newest list and TCB document of each issuer, and refuse older ones.

A list that is still in date can hide a revocation that a newer one holds. So whatever was
seen with a checked signature sets a floor: a lower number, or an earlier issue date, is
`collateral.rollback` from then on. A floor comes from a checked signature only, so nobody
but the issuer can raise it; it is never taken from a bundle or from the gateway.

Source: docs/explanation/endorsements.md.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from confide.attest.collateral.files import locked, read_at_most, write_whole
from confide.attest.endorsements import (
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EndorsementSource,
)
from confide.attest.results import LATEST, to_unix
from confide.attest.strict_json import (
    exact_members,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.errors import AttestationError, ConfigError, EndorsementError

__all__ = ["MAX_FACTS", "Found", "History"]

MAX_FACTS: Final = 4096
"""Most issuers that are remembered. Each needs a checked signature, so a stranger adds none."""

_MAX_FILE: Final = 4 * 1024 * 1024
_MAX_NAME: Final = 512


class History:
    """What was newest, per kind and issuer. Safe between threads and processes.

    An `EndorsementSource` that finds nothing.

    Args:
        folder: Where `facts.json` lies; None remembers for the life of this process only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._facts: dict[EndorsementKey, CollateralFact] = {}

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:  # noqa: ARG002 - protocol
        """Find nothing: a history holds facts only."""
        return ()

    def saw(self, fact: CollateralFact) -> None:
        """Take note of a fact whose signature was checked.

        Raises:
            EndorsementError: collateral.rollback, newer data was seen before; or
                collateral.history, what was seen before cannot be read or written.
        """
        with self._guard:
            if self._folder is None:
                self._take(fact)
                return
            try:
                with locked(self._folder):
                    self._facts = _load(self._path)
                    if self._take(fact):
                        write_whole(self._path, _encode(self._facts.values()))
            except ConfigError as error:
                raise _unusable(str(error)) from error

    def facts(self) -> tuple[CollateralFact, ...]:
        """Return the newest fact of each issuer, those that changed last at the end.

        Raises:
            EndorsementError: collateral.history.
        """
        with self._guard:
            if self._folder is not None:
                self._facts = _load(self._path)
            return tuple(self._facts.values())

    @property
    def _path(self) -> Path:
        assert self._folder is not None  # noqa: S101 - tells the type checker what callers know
        return self._folder / "facts.json"

    def _take(self, fact: CollateralFact) -> bool:
        """Compare and keep; return whether anything changed."""
        before = self._facts.get(fact.key)
        if before is not None:
            _refuse_older(fact, before)
        number = _newest_number(fact, before)
        if before is not None and (before.issued_at, before.number) == (fact.issued_at, number):
            return False
        self._facts.pop(fact.key, None)
        self._facts[fact.key] = CollateralFact(fact.key, fact.issued_at, number)
        while len(self._facts) > MAX_FACTS:
            del self._facts[next(iter(self._facts))]
        return True


class Found:
    """Another source without its memory: for looking back, and for finding out what is needed.

    Args:
        source: Where to look.
    """

    def __init__(self, source: EndorsementSource) -> None:
        self._source = source

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """Return what the source holds."""
        return self._source.find(key)

    def saw(self, fact: CollateralFact) -> None:
        """Remember nothing, and compare with nothing."""


def _newest_number(fact: CollateralFact, before: CollateralFact | None) -> int | None:
    """A document without a number does not lower the floor that one with a number set."""
    return before.number if before is not None and fact.number is None else fact.number


def _refuse_older(fact: CollateralFact, before: CollateralFact) -> None:
    if fact.number is not None and before.number is not None and fact.number < before.number:
        raise EndorsementError(
            f"{fact.key} has number {fact.number}; number {before.number} was seen before",
            code="collateral.rollback",
            hint="whoever stapled it must fetch it again: confide endorsements fetch",
        )
    if to_unix(fact.issued_at) < to_unix(before.issued_at):
        raise EndorsementError(
            f"{fact.key} is of {fact.issued_at:%Y-%m-%d %H:%M}; one of"
            f" {before.issued_at:%Y-%m-%d %H:%M} was seen before",
            code="collateral.rollback",
            hint="whoever stapled it must fetch it again: confide endorsements fetch",
        )


def _unusable(why: str) -> EndorsementError:
    # Going on would forget which lists are out of date, so it is a refusal.
    return EndorsementError(
        f"the record of the newest endorsements cannot be used: {why}",
        code="collateral.history",
        hint="restore facts.json in the directory of endorsements, or delete it to start anew",
    )


def _load(path: Path) -> dict[EndorsementKey, CollateralFact]:
    if not path.exists():
        return {}
    raw = read_at_most(path, _MAX_FILE)
    if raw is None:
        raise _unusable(f"{path} cannot be read")
    try:
        members = read_object(raw, limit=_MAX_FILE)
        exact_members(members, required=("v", "facts"))
        if read_integer(members["v"], "v") != 1:
            raise _unusable(f"{path} is of another version")
        found = read_list(members["facts"], "facts", limit=MAX_FACTS, item=_read_fact)
    except EndorsementError:
        raise
    except AttestationError as error:
        raise _unusable(f"{path}: {error}") from error
    return {fact.key: fact for fact in found}


def _read_fact(value: object) -> CollateralFact:
    members: Mapping[str, object] = value if isinstance(value, dict) else {}
    exact_members(members, required=("kind", "subject", "issued_at"), optional=("number",))
    issued_at = min(read_integer(members["issued_at"], "issued_at"), LATEST)
    return CollateralFact(
        EndorsementKey(
            read_text(members["kind"], "kind", limit=_MAX_NAME),
            read_text(members["subject"], "subject", limit=_MAX_NAME),
        ),
        datetime.fromtimestamp(issued_at, tz=UTC),
        read_integer(members["number"], "number") if "number" in members else None,
    )


def _encode(facts: Iterable[CollateralFact]) -> bytes:
    rows = []
    for fact in facts:
        row: dict[str, object] = {
            "kind": fact.key.kind,
            "subject": fact.key.subject,
            "issued_at": to_unix(fact.issued_at),
        }
        if fact.number is not None:
            row["number"] = fact.number
        rows.append(row)
    return json.dumps({"v": 1, "facts": rows}, separators=(",", ":")).encode("ascii")
