"""Endorsements as one JSON document: a file to carry, and what a gateway staples.

    {"v":1,"endorsements":[{"kind":"snp/crl","subject":"Genoa","content":"<base64url>"}]}

There are no dates, digests or facts in it: nothing in it is believed before the platform
has checked the vendor's signature, so nothing needs to be said about it.

Media type application/vnd.confide.collateral+json. Source: spec/protocol.md section 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confide.attest.collateral.files import read_at_most
from confide.attest.endorsements import (
    MAX_CANDIDATES,
    MAX_ENDORSEMENT,
    CollateralFact,
    Endorsement,
    EndorsementKey,
)
from confide.attest.strict_json import (
    exact_members,
    read_base64url,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.errors import AttestationError, ConfigError, EvidenceError
from confide.wire.strict_json import b64url

__all__ = [
    "MAX_BUNDLE",
    "MAX_BUNDLED",
    "Bundle",
    "encode_bundle",
    "read_bundle",
    "read_bundle_file",
    "read_key",
]

MAX_BUNDLE: Final = 4 * 1024 * 1024
"""Longest document, in bytes."""
MAX_BUNDLED: Final = 1024
"""Most endorsements in one document."""

_VERSION: Final = 1
_KIND: Final = re.compile(r"[a-z0-9-]{1,32}/[a-z0-9-]{1,32}", re.ASCII)
_SUBJECT: Final = re.compile(r"[\x20-\x7e]{0,512}", re.ASCII)


def read_key(kind: object, subject: object) -> EndorsementKey:
    """Return a key whose parts have the form of one.

    Raises:
        EvidenceError: envelope.json.
    """
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise EvidenceError("kind is not like snp/crl", code="envelope.json")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise EvidenceError("subject is not at most 512 printable ASCII", code="envelope.json")
    return EndorsementKey(kind, subject)


@dataclass(frozen=True)
class Bundle:
    """Endorsements of one document, as an `EndorsementSource`.

    Attributes:
        held: Candidates by key, in the order of the document; at most 16 per key.
    """

    held: Mapping[EndorsementKey, tuple[Endorsement, ...]] = field(default_factory=dict, repr=False)

    def find(self, key: EndorsementKey) -> tuple[Endorsement, ...]:
        """Return what the document holds under exactly this kind and subject."""
        return self.held.get(key, ())

    def saw(self, fact: CollateralFact) -> None:
        """Remember nothing: a document has no history."""

    def __iter__(self) -> Iterator[Endorsement]:
        return iter([one for held in self.held.values() for one in held])

    def __len__(self) -> int:
        return sum(map(len, self.held.values()))


def encode_bundle(endorsements: Iterable[Endorsement]) -> bytes:
    """Write a document; the same endorsements in the same order give the same bytes.

    Raises:
        ConfigError: More than 1024 endorsements, or more than 4 MiB.
    """
    rows = [
        {"kind": one.key.kind, "subject": one.key.subject, "content": b64url(one.content)}
        for one in endorsements
    ]
    raw = json.dumps({"v": _VERSION, "endorsements": rows}, separators=(",", ":")).encode("ascii")
    if len(rows) > MAX_BUNDLED or len(raw) > MAX_BUNDLE:
        raise ConfigError(
            f"{len(rows)} endorsements of {len(raw)} bytes do not fit into one bundle of at most"
            f" {MAX_BUNDLED} and {MAX_BUNDLE} bytes",
            hint="export fewer: name kinds with --kind",
        )
    return raw


def read_bundle(raw: bytes, *, source: str) -> Bundle:
    """Read a document from a hostile sender.

    Args:
        raw: At most 4 MiB; the size is checked first.
        source: Where it came from, for messages.

    Raises:
        EvidenceError: envelope.size, .json, .duplicate_key, .version or .base64. No other.
    """
    members = read_object(raw, limit=MAX_BUNDLE)
    exact_members(members, required=("v", "endorsements"))
    if read_integer(members["v"], "v") != _VERSION:
        raise EvidenceError("unknown version of a bundle", code="envelope.version")
    found: dict[EndorsementKey, list[Endorsement]] = {}
    rows = read_list(
        members["endorsements"],
        "endorsements",
        limit=MAX_BUNDLED,
        item=lambda row: _read_one(row, source),
    )
    for one in rows:
        held = found.setdefault(one.key, [])
        held.append(one)
        if len(held) > MAX_CANDIDATES:
            raise EvidenceError(
                f"more than {MAX_CANDIDATES} endorsements under one key", code="envelope.size"
            )
    return Bundle({key: tuple(held) for key, held in found.items()})


def _read_one(value: object, source: str) -> Endorsement:
    members: Mapping[str, object] = value if isinstance(value, dict) else {}
    exact_members(members, required=("kind", "subject", "content"))
    key = read_key(
        read_text(members["kind"], "kind", limit=65),
        read_text(members["subject"], "subject", limit=512),
    )
    content = read_base64url(members["content"], "content", limit=MAX_ENDORSEMENT)
    return Endorsement(key, content, source)


def read_bundle_file(path: Path) -> Bundle:
    """Read a bundle that someone carried here.

    Raises:
        ConfigError: It cannot be read, or is not a bundle.
    """
    raw = read_at_most(path, MAX_BUNDLE)
    if raw is None:
        raise ConfigError(
            f"cannot read the bundle {path}, or it is longer than {MAX_BUNDLE} bytes",
            hint="confide endorsements export FILE writes one",
        )
    try:
        return read_bundle(raw, source=f"bundle {path.name}")
    except AttestationError as error:
        raise ConfigError(
            f"{path} is not a bundle of endorsements: {error}",
            hint="confide endorsements export FILE writes one",
        ) from error
