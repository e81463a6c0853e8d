"""Keep endorsements between runs, so that a client without a network can verify.

    DIRECTORY/objects/<sha256 in hex>    content as the vendor made it, mode 0600
    DIRECTORY/index.json                 which content lies under which key
    DIRECTORY/facts.json                 what was newest (`confide.attest.collateral.history`)

The content is compared with its name on every read, and the platform checks the vendor's
signature every time after that: who can write here can make a client refuse, and nothing
else. A damaged index is an empty cache. Several contents may lie under one key, because
one of them may be bad or out of date; the newest is tried first.

Writers take a lock and replace files whole; readers need no lock. What was used least
recently leaves first when the cache is full.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confide.attest.collateral.bundle import read_key
from confide.attest.collateral.files import locked, read_at_most, write_whole
from confide.attest.collateral.history import History
from confide.attest.endorsements import (
    MAX_ENDORSEMENT,
    CollateralFact,
    Endorsement,
    EndorsementKey,
)
from confide.attest.strict_json import (
    exact_members,
    read_hex,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.errors import AttestationError, ConfigError

__all__ = ["MAX_CACHE", "MAX_PER_KEY", "CachedEndorsement", "EndorsementCache", "Period"]

MAX_CACHE: Final = 64 * 1024 * 1024
"""Default limit of all contents together, in bytes."""
MAX_PER_KEY: Final = 4
"""Contents kept under one key; the oldest leaves first."""

_MAX_ENTRIES: Final = 4096
_MAX_INDEX: Final = 8 * 1024 * 1024
_MAX_SOURCE: Final = 256
_VERSION: Final = 1


@dataclass(frozen=True)
class Period:
    """When an endorsement says that it was issued and ends. Advice for fetching, never proof.

    Attributes:
        issued_at: Unix seconds, or None if it does not say.
        until: Unix seconds, or None if it does not say or does not end in practice.
    """

    issued_at: int | None = None
    until: int | None = None

    def due(self, now: float) -> bool:
        """Whether half of its life is over, so that it is time to fetch a newer one."""
        if self.issued_at is None or self.until is None:
            return False
        return now >= (self.issued_at + self.until) / 2


@dataclass(frozen=True)
class CachedEndorsement:
    """One line of the index.

    Attributes:
        key: Kind and subject.
        sha256: Digest of the content, 32 bytes.
        size: Length of the content, in bytes.
        source: Where it came from.
        added_at: Unix seconds.
        period: What it says of its own dates.
    """

    key: EndorsementKey
    sha256: bytes
    size: int
    source: str
    added_at: int
    period: Period = Period()


class EndorsementCache:
    """A directory of endorsements with a history. An `EndorsementSource`.

    Safe between threads and between processes that share the directory.

    Args:
        folder: Made on the first write, mode 0700.
        limit: Most bytes of all contents together.
    """

    def __init__(self, folder: Path, *, limit: int = MAX_CACHE) -> None:
        self.folder = folder
        self._limit = limit
        self._history = History(folder)
        self._known: tuple[tuple[int, int, int] | None, tuple[CachedEndorsement, ...]] | None = None

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """Return what lies under the key, the newest first; nothing that was changed on disk."""
        lines = [line for line in self.entries() if line.key == key]
        found = []
        for line in reversed(lines):
            content = self._read(line)
            if content is not None:
                found.append(Endorsement(key, content, source=f"cache ({line.source})"))
        return tuple(found)

    def saw(self, fact: CollateralFact) -> None:
        """Take note of a fact for good; see `History.saw`."""
        self._history.saw(fact)

    def facts(self) -> tuple[CollateralFact, ...]:
        """Return the newest fact of each issuer; see `History.facts`."""
        return self._history.facts()

    def add(
        self, found: Endorsement, *, at: float, period: Period | None = None
    ) -> CachedEndorsement:
        """Keep one endorsement. It is not checked here, nor believed later.

        Args:
            found: What to keep; at most 256 KiB.
            at: Unix seconds.
            period: What it says of its dates.

        Raises:
            ConfigError: It is too large or empty, or the directory is not writable.
        """
        if not 0 < len(found.content) <= MAX_ENDORSEMENT:
            raise ConfigError(
                f"an endorsement has 1 to {MAX_ENDORSEMENT} bytes, not {len(found.content)}"
            )
        digest = hashlib.sha256(found.content).digest()
        added = CachedEndorsement(
            found.key,
            digest,
            len(found.content),
            found.source[:_MAX_SOURCE],
            int(at),
            period or Period(),
        )
        with locked(self.folder):
            objects = self.folder / "objects"
            objects.mkdir(mode=0o700, exist_ok=True)
            path = objects / digest.hex()
            if read_at_most(path, MAX_ENDORSEMENT) != found.content:
                write_whole(path, found.content)
            others = [
                line for line in self.entries() if (line.key, line.sha256) != (found.key, digest)
            ]
            kept = self._within(_per_key([*others, added]), added)
            write_whole(self.folder / "index.json", _encode(kept))
            self._sweep(kept)
        return added

    def entries(self) -> tuple[CachedEndorsement, ...]:
        """Return the index, oldest first; empty if there is none or it is damaged."""
        # Parsing costs 20 us a line; the file is replaced whole, so a change shows in its stat.
        stamp = self._stamp()
        known = self._known
        if stamp is None or known is None or known[0] != stamp:
            known = self._known = (stamp, self._parse())
        return known[1]

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = (self.folder / "index.json").stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _parse(self) -> tuple[CachedEndorsement, ...]:
        raw = read_at_most(self.folder / "index.json", _MAX_INDEX)
        if raw is None:
            return ()
        try:
            members = read_object(raw, limit=_MAX_INDEX)
            exact_members(members, required=("v", "entries"))
            if read_integer(members["v"], "v") != _VERSION:
                return ()
            return read_list(members["entries"], "entries", limit=_MAX_ENTRIES, item=_read_line)
        except AttestationError:
            return ()

    def intact(self, line: CachedEndorsement) -> bool:
        """Whether the content of a line is there and unchanged."""
        return self._read(line) is not None

    def _read(self, line: CachedEndorsement) -> bytes | None:
        path = self.folder / "objects" / line.sha256.hex()
        content = read_at_most(path, MAX_ENDORSEMENT)
        if content is None or hashlib.sha256(content).digest() != line.sha256:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # what was used last; read by `_used_at`
        return content

    def _within(
        self, lines: list[CachedEndorsement], newest: CachedEndorsement
    ) -> list[CachedEndorsement]:
        """Drop what was used least recently until the limits hold; never the newest."""
        kept = list(lines)
        for line in sorted(lines, key=self._used_at):
            total = sum({one.sha256: one.size for one in kept}.values())
            if total <= self._limit and len(kept) <= _MAX_ENTRIES:
                break
            if line is not newest:
                kept.remove(line)
        return kept

    def _used_at(self, line: CachedEndorsement) -> float:
        try:
            return (self.folder / "objects" / line.sha256.hex()).stat().st_mtime
        except OSError:
            return 0.0

    def _sweep(self, kept: Iterable[CachedEndorsement]) -> None:
        """Remove contents that no line names. Called under the lock."""
        named = {line.sha256.hex() for line in kept}
        for path in (self.folder / "objects").iterdir():
            if path.name not in named:
                with contextlib.suppress(OSError):
                    path.unlink()


def _per_key(lines: list[CachedEndorsement]) -> list[CachedEndorsement]:
    """Keep the last few of each key."""
    counts: dict[EndorsementKey, int] = {}
    kept = []
    for line in reversed(lines):
        counts[line.key] = counts.get(line.key, 0) + 1
        if counts[line.key] <= MAX_PER_KEY:
            kept.append(line)
    return kept[::-1]


def _read_line(value: object) -> CachedEndorsement:
    members: Mapping[str, object] = value if isinstance(value, dict) else {}
    exact_members(
        members,
        required=("kind", "subject", "sha256", "size", "source", "added_at"),
        optional=("issued_at", "until"),
    )
    issued_at, until = (
        read_integer(members[name], name) if name in members else None
        for name in ("issued_at", "until")
    )
    return CachedEndorsement(
        read_key(members["kind"], members["subject"]),
        read_hex(members["sha256"], "sha256", length=32),
        read_integer(members["size"], "size"),
        read_text(members["source"], "source", limit=_MAX_SOURCE),
        read_integer(members["added_at"], "added_at"),
        Period(issued_at, until),
    )


def _encode(lines: Iterable[CachedEndorsement]) -> bytes:
    rows = []
    for line in lines:
        row: dict[str, object] = {
            "kind": line.key.kind,
            "subject": line.key.subject,
            "sha256": line.sha256.hex(),
            "size": line.size,
            "source": line.source,
            "added_at": line.added_at,
        }
        if line.period.issued_at is not None:
            row["issued_at"] = line.period.issued_at
        if line.period.until is not None:
            row["until"] = line.period.until
        rows.append(row)
    return json.dumps({"v": _VERSION, "entries": rows}, separators=(",", ":")).encode("ascii")
