"""What this machine has seen of a publisher, so that nothing older is accepted again.

An old release is still signed, and perhaps not expired: whoever controls the network could
offer it again together with the flaw that the next one closed. The highest counter per
name, and the signers in force, are kept in a folder:

    keys.json       the signers, as published
    history.json    {"v":1, "releases":{"<name>":{"counter":7, "payload_sha256":"<hex>"}}}

A file that cannot be understood is an error and never an empty history.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

from confide.attest.releases.dsse import Envelope
from confide.attest.releases.keys import ReleaseKeys
from confide.attest.releases.manifest import Release, read_release
from confide.attest.strict_json import exact_members, read_hex, read_integer, read_object
from confide.errors import ConfigError, EndorsementError, EvidenceError

__all__ = ["ReleaseStore"]

_MAX_FILE: Final = 1024 * 1024


class ReleaseStore:
    """One publisher's signers and releases, as this machine knows them.

    Args:
        folder: Made when something is first kept. One process at a time writes to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys = folder / "keys.json"
        self._history = folder / "history.json"

    def keys(self) -> ReleaseKeys:
        """Return the signers in force, expired or not.

        Raises:
            ConfigError: reference.untrusted: none were chosen yet; or the file is damaged.
        """
        if not self._keys.exists():
            raise ConfigError(
                f"no release keys are trusted in {self.folder}",
                code="reference.untrusted",
                hint="confide release trust KEYS --sha256 DIGEST",
            )
        try:
            return ReleaseKeys.parse(self._read(self._keys))
        except (EvidenceError, EndorsementError) as error:
            raise ConfigError(f"{self._keys} is damaged: {error}") from error

    def trust(self, raw: bytes, *, sha256: bytes | None, at: datetime) -> ReleaseKeys:
        """Take over signers: the first ones by their digest, later ones by a hand-over.

        Args:
            raw: The document, untrusted.
            sha256: Digest that the user got another way, 32 bytes. Needed the first time.
            at: Now.

        Raises:
            ConfigError: reference.untrusted: the first document, and no or another digest.
            EvidenceError: Malformed.
            EndorsementError: See `ReleaseKeys.parse` and `ReleaseKeys.rotated`;
                reference.keys_expired.
        """
        actual = hashlib.sha256(raw).digest()
        if sha256 is not None and sha256 != actual:
            raise ConfigError(
                f"the file has the SHA-256 {actual.hex()}, not the one given",
                code="reference.untrusted",
            )
        if self._keys.exists():
            present = self.keys()
            if Envelope.parse(raw).payload == present.unsigned().payload:
                return present
            keys = present.rotated(raw, at=at)
        elif sha256 is None:
            raise ConfigError(
                "the first release keys are trusted by their digest only",
                code="reference.untrusted",
                hint="get the SHA-256 from the publisher another way, then give --sha256",
            )
        else:
            keys = ReleaseKeys.parse(raw)
            keys.require_current(at)
        self._write(self._keys, raw)
        return keys

    def accept(self, raw: bytes, *, at: datetime) -> Release:
        """Read a release, refuse it if a newer one was seen, and remember it.

        Raises:
            ConfigError: reference.untrusted, or the history is damaged.
            EvidenceError: Malformed.
            EndorsementError: reference.rollback; see also `read_release`.
        """
        release = read_release(raw, keys=self.keys(), at=at)
        seen = self._seen()
        last = seen.get(release.name)
        if last is not None:
            counter, digest = last
            if release.counter < counter:
                raise EndorsementError(
                    f"release {release.counter} of {release.name}; release {counter} was seen "
                    "here before",
                    code="reference.rollback",
                    hint="get the newest release",
                )
            if release.counter == counter and release.payload_sha256 != digest:
                raise EndorsementError(
                    f"there are two different releases {counter} of {release.name}",
                    code="reference.rollback",
                    hint="tell the publisher: one of the two should not exist",
                )
        seen[release.name] = (release.counter, release.payload_sha256)
        members = {
            "v": 1,
            "releases": {
                name: {"counter": counter, "payload_sha256": digest.hex()}
                for name, (counter, digest) in sorted(seen.items())
            },
        }
        self._write(self._history, json.dumps(members, indent=2).encode("ascii"))
        return release

    def _seen(self) -> dict[str, tuple[int, bytes]]:
        if not self._history.exists():
            return {}
        try:
            members = read_object(self._read(self._history), limit=_MAX_FILE)
            exact_members(members, required=("v", "releases"))
            releases = members["releases"]
            if read_integer(members["v"], "v") != 1 or not isinstance(releases, dict):
                raise EvidenceError("unknown version")
            return {name: _entry(entry) for name, entry in releases.items()}
        except EvidenceError as error:
            raise ConfigError(
                f"{self._history} is damaged: {error}",
                hint="restore it; without it an older release could be offered again",
            ) from error

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(_MAX_FILE + 1)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error

    def _write(self, path: Path, content: bytes) -> None:
        """Replace a file in one step, so that a crash leaves the old history or the new."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=f".{path.name}.")
            scratch = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                scratch.replace(path)
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _entry(value: object) -> tuple[int, bytes]:
    if not isinstance(value, dict):
        raise EvidenceError("an entry is not an object")
    exact_members(value, required=("counter", "payload_sha256"))
    return (
        read_integer(value["counter"], "counter"),
        read_hex(value["payload_sha256"], "payload_sha256", length=32),
    )
