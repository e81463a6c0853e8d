"""What `confide verify` fetched, in one file that can be checked again elsewhere.

    {"v":1,"url":"https://...","nonce":"<64 hex digits>","fetched_at":1795213861,
     "replicas":[{"document":"<base64url>","evidence":"...","manifest":"..."}],
     "endorsements":"<base64url>"}

`endorsements` is the bundle of `confide.attest.collateral` with every certificate and list that
was looked at, so that the reader needs none of their own; all are checked again.

A bundle proves nothing by itself. Whoever reads it checks every signature again, under a
policy of their own. Who saved it chose the nonce, so it shows that the evidence existed, not
that it was fresh: that rests on the word of whoever saved it.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from confide.attest.collateral.bundle import encode_bundle
from confide.attest.evidence import MAX_ENVELOPE
from confide.attest.results import LATEST, to_unix
from confide.errors import ConfigError
from confide.wire.strict_json import (
    MalformedJSON,
    b64url,
    b64url_bytes,
    boolean_free_int,
    hex_text,
    object_of,
    only_members,
    text,
)

__all__ = ["MAX_BUNDLE", "Bundle", "Fetched", "write_file"]

MAX_BUNDLE: Final = 16 * 1024 * 1024
"""Largest bundle file that is read, in bytes."""

NO_ENDORSEMENTS: Final = encode_bundle(())
"""A bundle of `confide.attest.collateral` that holds nothing."""

_VERSION: Final = 1
_MAX_REPLICAS: Final = 64
_MEMBERS: Final = frozenset({"v", "url", "nonce", "fetched_at", "replicas", "endorsements"})
_PARTS: Final = frozenset({"document", "evidence", "manifest"})


@dataclass(frozen=True)
class Fetched:
    """What one replica said. All of it untrusted.

    Attributes:
        document: Key document exactly as served.
        evidence: Envelope, at most 512 KiB.
        manifest: Release-and-model manifest.
    """

    document: bytes
    evidence: bytes
    manifest: bytes


@dataclass(frozen=True)
class Bundle:
    """Everything needed to decide again.

    Attributes:
        url: Where it came from; for people.
        nonce: The challenge, 32 bytes.
        fetched_at: When it was saved, by the clock of whoever saved it.
        replicas: At least one, at most 64.
        endorsements: What was looked at to decide; at most 4 MiB, untrusted as well.
    """

    url: str
    nonce: bytes
    fetched_at: datetime
    replicas: tuple[Fetched, ...]
    endorsements: bytes = field(default=NO_ENDORSEMENTS, repr=False)

    def encode(self) -> bytes:
        """Return the file's bytes; `parse` reads them back to an equal value."""
        members = {
            "v": _VERSION,
            "url": self.url,
            "nonce": self.nonce.hex(),
            "fetched_at": to_unix(self.fetched_at),
            "replicas": [
                {
                    "document": b64url(one.document),
                    "evidence": b64url(one.evidence),
                    "manifest": b64url(one.manifest),
                }
                for one in self.replicas
            ],
            "endorsements": b64url(self.endorsements),
        }
        return json.dumps(members, indent=2).encode("ascii")

    @classmethod
    def parse(cls, raw: bytes) -> Bundle:
        """Read a bundle from anyone.

        Raises:
            ConfigError: bundle.invalid. No other exception.
        """
        try:
            members = object_of(raw, max_bytes=MAX_BUNDLE)
            only_members(members, _MEMBERS, where="bundle")
            boolean_free_int(members["v"], "v", low=_VERSION, high=_VERSION)
            listed = members["replicas"]
            if not isinstance(listed, list) or not 1 <= len(listed) <= _MAX_REPLICAS:
                raise MalformedJSON(f"replicas is not a list of 1 to {_MAX_REPLICAS}")
            fetched_at = boolean_free_int(members["fetched_at"], "fetched_at", low=0, high=LATEST)
            return cls(
                url=text(members["url"], "url", max_length=2048),
                nonce=bytes.fromhex(hex_text(members["nonce"], "nonce", length=32)),
                fetched_at=datetime.fromtimestamp(fetched_at, tz=UTC),
                replicas=tuple(_replica(one) for one in listed),
                endorsements=b64url_bytes(members["endorsements"], "endorsements"),
            )
        except MalformedJSON as error:
            raise ConfigError(
                f"not a bundle of confide verify: {error}",
                code="bundle.invalid",
                hint="make one with: confide verify URL --save FILE",
            ) from None

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Read a bundle file.

        Raises:
            ConfigError: It cannot be read, is too large, or `parse` refuses it.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BUNDLE + 1)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        if len(raw) > MAX_BUNDLE:
            raise ConfigError(
                f"{path} is larger than {MAX_BUNDLE} bytes, so it is no bundle",
                code="bundle.invalid",
            )
        return cls.parse(raw)


def _replica(value: object) -> Fetched:
    if not isinstance(value, dict):
        raise MalformedJSON("a replica is not an object")
    only_members(value, _PARTS, where="replica")
    parts = {name: b64url_bytes(value[name], name) for name in sorted(_PARTS)}
    if len(parts["evidence"]) > MAX_ENVELOPE:
        raise MalformedJSON(f"evidence is larger than {MAX_ENVELOPE} bytes")
    return Fetched(**parts)


def write_file(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader sees the old file or the whole new one.

    Raises:
        ConfigError: It cannot be written; nothing was changed.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
