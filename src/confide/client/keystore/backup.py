"""Backups of all KEKs as one age file, and the drill that proves one.

A backup has at least two recipients, so that losing one identity does not lose it. The
stock `age` tool opens it; inside is JSON with every KEK in base64.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confide.client.keystore.keyset import KeySet
from confide.client.keystore.store import StoreKind, create_keys, load_keys
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeystoreError
from confide.sealing import age
from confide.wire.strict_json import MalformedJSON, canonical, object_of, only_members

__all__ = ["MINIMUM_RECIPIENTS", "DrillReport", "drill", "open_backup", "seal_backup"]

MINIMUM_RECIPIENTS: Final = 2
_KIND: Final = "confide-keys-backup"
_ABOUT: Final = (
    "KEKs of confide: 32 bytes each in base64, the first one active. To use them:"
    " confide keys restore with the age file this came from."
)
_MAX_TEXT: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DrillReport:
    """What a drill proved.

    Attributes:
        recipients: How many the file has.
        opened_with: Recipients whose identity opened it, each on its own.
        proven: Fingerprints that came back and are in the store.
        missing: Fingerprints of the store that the backup lacks.
        unknown: Fingerprints of the backup that the store lacks.
    """

    recipients: int
    opened_with: tuple[str, ...]
    proven: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def seal_backup(
    keys: KeySet,
    recipients: Sequence[age.Recipient],
    *,
    now: float,
    allow_classical: bool = False,
) -> bytes:
    """Write a backup in the text form of age.

    Args:
        keys: What to back up, retired keys included.
        recipients: At least two different ones.
        now: Unix seconds, noted inside.
        allow_classical: Accept X25519 recipients; never beside post-quantum ones.

    Raises:
        KeystoreError: Too few recipients, or a classical one that was not allowed.
        AgeFileError: A mixture of both kinds.
    """
    if len(set(recipients)) < MINIMUM_RECIPIENTS:
        raise KeystoreError(
            f"a backup has at least {MINIMUM_RECIPIENTS} different recipients,"
            " so that losing one identity does not lose it",
            hint="confide keys identity makes one more",
        )
    if not allow_classical and not all(recipient.post_quantum for recipient in recipients):
        raise KeystoreError(
            "a recipient is classical (age1...), which a quantum computer opens later",
            hint="use recipients that start with age1pq1, or --allow-classical",
        )
    document = {
        "v": 1,
        "kind": _KIND,
        "about": _ABOUT,
        "made": int(now),
        "keys": keys.to_json(),
    }
    return age.encrypt(canonical(document) + b"\n", recipients, armored=True)


def open_backup(data: bytes, identities: Sequence[age.Identity]) -> KeySet:
    """Open a backup.

    Raises:
        NoMatchingIdentity: It is for others.
        AgeFileError: Not an age file, or it was changed.
        KeystoreError: An age file, but no backup of keys.
    """
    plaintext = age.decrypt(data, identities)
    try:
        members = object_of(plaintext, max_bytes=_MAX_TEXT)
        only_members(members, ["v", "kind", "about", "made", "keys"])
    except MalformedJSON:
        raise KeystoreError("the age file holds no backup of keys") from None
    if members["v"] != 1 or members["kind"] != _KIND:
        raise KeystoreError("the age file holds another kind of thing, or another version of it")
    return KeySet.from_json(members["keys"])


def drill(
    data: bytes,
    identities: Sequence[age.HybridIdentity | age.X25519Identity],
    expected: Sequence[str],
    *,
    folder: Path | None = None,
) -> DrillReport:
    """Restore a backup into a scratch store once per identity, and compare fingerprints.

    The scratch store is under a random passphrase that is never written, so no key lies
    open on the disk during a drill.

    Args:
        data: The backup.
        identities: Each must open it alone.
        expected: Fingerprints of the store, the active one first.
        folder: Where the scratch directory goes. Default: that for temporary files.

    Raises:
        NoMatchingIdentity: An identity does not open it.
        AgeFileError: As `open_backup`.
        KeystoreError: As `open_backup`, or two identities found different keys.
    """
    if not identities:
        raise KeystoreError("a drill needs an identity")
    found = {_restored(data, identity, folder) for identity in identities}
    if len(found) != 1:
        raise KeystoreError("two identities found different keys in one file")
    (ids,) = found
    return DrillReport(
        age.count_recipients(data),
        tuple(str(identity.recipient) for identity in identities),
        tuple(key_id for key_id in expected if key_id in ids),
        tuple(key_id for key_id in expected if key_id not in ids),
        tuple(key_id for key_id in ids if key_id not in expected),
    )


def _restored(data: bytes, identity: age.Identity, folder: Path | None) -> tuple[str, ...]:
    passphrase = SecretBytes(secrets.token_hex(32).encode())
    keys = open_backup(data, [identity])
    with tempfile.TemporaryDirectory(prefix="confide-drill-", dir=folder) as scratch:
        path = Path(scratch) / "kek"
        create_keys(path, keys, StoreKind.PASSPHRASE, lambda: passphrase)
        return load_keys(path, lambda: passphrase).ids
