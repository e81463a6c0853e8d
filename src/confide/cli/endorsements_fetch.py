"""What `confide endorsements fetch` does: find out what is needed, ask, keep."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from confide.attest.collateral import EndorsementCache, Found
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.attest.evidence import Evidence
from confide.attest.factors import Outcome
from confide.attest.results import to_unix
from confide.attest.verifier import explain
from confide.cli.attest_bundle import Bundle, Fetched
from confide.cli.attest_fetch import Fetcher
from confide.client.vendors import Fetched as Answer
from confide.client.vendors import (
    VendorHttp,
    chain_keys,
    fetch_answer,
    fetch_key,
    fetchable,
)
from confide.errors import AttestationError, ConfideError, ConfigError
from confide.wire.directory import Directory

__all__ = ["Keeper", "from_gateway", "from_saved", "parse_key"]

_MAX_ROUNDS: Final = 8
_NONCE_LENGTH: Final = 32
_INTEL: Final = "tdx/collateral"
_NVIDIA: Final = "nvidia-spdm"


def _is_intel(key: object) -> bool:
    return str(key).startswith(f"{_INTEL} ")


def parse_key(text: str) -> EndorsementKey:
    """Read a key as people write it, such as "snp/crl:Genoa".

    Raises:
        ConfigError: It has no colon or no kind.
    """
    kind, colon, subject = text.partition(":")
    if not colon or kind.count("/") != 1:
        raise ConfigError(f"{text!r} is not a key", hint="such as snp/crl:Genoa")
    return EndorsementKey(kind, subject)


@dataclass(frozen=True)
class Shown:
    """Evidence to be looked at, and the challenge it answers.

    Attributes:
        found: Document, evidence and manifest.
        nonce: 32 bytes.
        at: When it was fetched.
    """

    found: Fetched
    nonce: bytes = field(repr=False)
    at: datetime


def from_gateway(url: str, at: datetime) -> tuple[Shown, ...]:
    """Challenge every enclave behind a URL.

    Raises:
        ConfideError: One of them could not be asked.
    """
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    shown = []
    with Fetcher(url) as fetcher:
        for replica in Directory.parse(fetcher.directory().body).replicas:
            digest = hashlib.sha256(replica.document).digest()
            raw = fetcher.evidence(digest, nonce).body
            shown.append(Shown(Fetched(replica.document, raw, replica.manifest), nonce, at))
    return tuple(shown)


def from_saved(path: Path) -> tuple[Shown, ...]:
    """Read what `confide verify --save` wrote.

    Raises:
        ConfigError: It is no such file.
    """
    saved = Bundle.read(path)
    return tuple(Shown(one, saved.nonce, saved.fetched_at) for one in saved.replicas)


class _Wanted(Found):
    """Finds what a cache holds and notes what is asked for; leaves the history alone."""

    def __init__(self, cache: EndorsementCache) -> None:
        super().__init__(cache)
        self.keys: dict[EndorsementKey, None] = {}

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        self.keys[key] = None
        return super().find(key)


class Keeper:
    """Fetches what is missing or past half of its life, and keeps it.

    Args:
        cache: Where it is kept.
        http: Asks the vendors.
        at: Now.
        again: Fetch also what is held and not due.

    Attributes:
        rows: One per key: key, outcome ("fetched", "kept", "failed"), bytes, until, and where it
            came from or why not.
    """

    def __init__(
        self, cache: EndorsementCache, http: VendorHttp, *, at: datetime, again: bool
    ) -> None:
        self._cache, self._http, self._again = cache, http, again
        self._now = to_unix(at)
        self._done: set[EndorsementKey] = set()
        self.rows: list[dict[str, object]] = []

    @property
    def failed(self) -> bool:
        """Whether anything could not be fetched."""
        return any(row["outcome"] == "failed" for row in self.rows)

    def keys(self, keys: Iterable[EndorsementKey]) -> None:
        """Fetch by key alone."""
        for key in keys:
            self._keep(key, partial(fetch_key, self._http, key))
        self._refresh_together()

    def _refresh_together(self) -> None:
        """Fetch Intel's data for every platform held, once it was fetched for one.

        Parts of it are the same document for all; a newer one for one platform would make the
        older one of another a rollback.
        """
        if any(row["outcome"] == "fetched" and _is_intel(row["key"]) for row in self.rows):
            held = {line.key for line in self._cache.entries() if line.key.kind == _INTEL}
            for key in sorted(held - self._done, key=str):
                self._keep(key, partial(fetch_key, self._http, key), again=True)

    def due(self) -> None:
        """Fetch again what is past half of its life and can be asked for by its key."""
        lines = {line.key: line for line in self._cache.entries()}
        self.keys(k for k, line in lines.items() if line.period.due(self._now) and fetchable(k))

    def evidence(self, shown: Iterable[Shown]) -> list[dict[str, object]]:
        """Fetch what evidence needs, until its platform asks for nothing more.

        Returns:
            For each: the document's digest, whether it is genuine now, and if not, why.
        """
        return [self._one(one) for one in shown]

    def _one(self, one: Shown) -> dict[str, object]:
        self._devices(one.found.evidence)
        for _ in range(_MAX_ROUNDS):
            wanted = _Wanted(self._cache)
            explanation = explain(
                one.found.evidence,
                document=one.found.document,
                manifest=one.found.manifest,
                nonce=one.nonce,
                at=one.at,
                policy=None,
                endorsements=(wanted,),
            )
            missing = [k for k in wanted.keys if k not in self._done and fetchable(k)]
            if not missing:
                break
            self.keys(missing)
        outcomes = {factor.name: factor for factor in explanation.factors}
        root = outcomes["hardware root"]
        genuine = root.outcome is Outcome.PASS
        return {
            "document_sha256": hashlib.sha256(one.found.document).hexdigest(),
            "genuine": genuine,
            "detail": root.detail,
        }

    def _devices(self, raw: bytes) -> None:
        try:
            evidence = Evidence.parse(raw)
        except AttestationError:
            return  # what is wrong with it shows when it is examined
        for gpu in evidence.gpus:
            if gpu.type == _NVIDIA:
                for key, question in chain_keys(gpu.chain).items():
                    self._keep(key, partial(fetch_answer, self._http, question))

    def _keep(
        self, key: EndorsementKey, fetch: Callable[[], Answer], *, again: bool = False
    ) -> None:
        if key in self._done:
            return
        self._done.add(key)
        held = [line for line in self._cache.entries() if line.key == key]
        if held and not (again or self._again) and self._cache.intact(held[-1]):
            line = held[-1]
            if not line.period.due(self._now):
                self._row(key, "kept", line.size, line.period.until, line.source)
                return
        try:
            found = fetch()
            line = self._cache.add(found.endorsement, at=self._now, period=found.period)
        except ConfideError as error:
            self._row(key, "failed", None, None, f"{error.code}: {error}")
            return
        self._row(key, "fetched", line.size, line.period.until, line.source)

    def _row(
        self, key: EndorsementKey, outcome: str, size: int | None, until: int | None, source: str
    ) -> None:
        self.rows.append(
            {"key": str(key), "outcome": outcome, "bytes": size, "until": until, "source": source}
        )
