"""Leave word of how each enclave's evidence was judged, for `confide admin enclaves list`.

One small JSON file beside the database, mode 0600, replaced whole after every judgement and
removed when the gateway stops. It is for people; nothing is decided by it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypedDict

from confide.attest.collateral.files import read_at_most, write_whole
from confide.errors import ConfigError
from confide.gateway.registry import Enclave
from confide.telemetry.logs import event

__all__ = ["Row", "Standings", "read_standings"]

_MAX_FILE: Final = 1024 * 1024


class Row(TypedDict):
    """How one enclave stands.

    Keys: url; evidence ("accepted", "refused" or "not checked"); code and factor of a refusal;
    platform of accepted evidence; document_sha256 in hexadecimal; checked_at and until in Unix
    seconds. What is not known is None.
    """

    url: str
    evidence: str
    code: str | None
    factor: str | None
    platform: str | None
    document_sha256: str | None
    checked_at: int | None
    until: int | None


class Standings:
    """Writes the file of one gateway.

    Args:
        database: The gateway's database; the file lies beside it.
        enclaves: All enclaves of now.
    """

    def __init__(self, database: Path, enclaves: Callable[[], Iterable[Enclave]]) -> None:
        self._path = _beside(database)
        self._enclaves = enclaves

    def write(self) -> None:
        """Replace the file. A disk that is full is logged and stops nothing."""
        rows = [_row(enclave) for enclave in self._enclaves()]
        try:
            write_whole(self._path, json.dumps({"v": 1, "enclaves": rows}).encode("ascii"))
        except ConfigError:
            event("standings-not-written", level="warning", file=self._path.name)

    def remove(self) -> None:
        """Remove the file: a gateway that does not run vouches for nothing."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def read_standings(database: Path) -> dict[str, Row]:
    """Return how each enclave stands, by URL; empty if no gateway runs on this database."""
    raw = read_at_most(_beside(database), _MAX_FILE)
    if raw is None:
        return {}
    try:
        rows: list[Row] = json.loads(raw)["enclaves"]
        return {row["url"]: row for row in rows}
    except (ValueError, KeyError, TypeError):
        return {}


def _beside(database: Path) -> Path:
    return database.with_name(f"{database.name}.enclaves.json")


def _row(enclave: Enclave) -> Row:
    standing = enclave.standing
    until = standing.accepted.get(standing.document or "")
    evidence = "not checked"
    if standing.checked_at:
        evidence = "accepted" if standing.code is None else "refused"
    return {
        "url": enclave.url,
        "evidence": evidence,
        "code": standing.code,
        "factor": standing.factor,
        "platform": standing.platform if standing.code is None else None,
        "document_sha256": standing.document,
        "checked_at": int(standing.checked_at) or None,
        "until": None if until is None else int(until),
    }
