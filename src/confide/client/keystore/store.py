"""One key store: a file that says where the KEKs are, and holds them if it may.

Three kinds, told apart by the file itself:

    file         KEKs in base64; any program of the same user can read them
    passphrase   KEKs sealed under a passphrase
    keyring      labels only; the KEKs lie in the keyring of the operating system

The file is private (0600) and replaced as a whole, so a full disk or a crash leaves the
old store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from confide.client.keystore import os_keyring
from confide.client.keystore import passphrase as sealed
from confide.client.keystore.files import locked, read_private, write_new, write_over
from confide.client.keystore.kek import encode_kek, new_kek, parse_kek
from confide.client.keystore.keyset import KeyEntry, KeyLabel, KeySet, labels_from_json
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import ConfigError, KeystoreError
from confide.wire.strict_json import MalformedJSON, canonical, object_of, only_members

__all__ = [
    "Passphrase",
    "StoreInfo",
    "StoreKind",
    "create_kek",
    "create_keys",
    "describe",
    "ensure_kek",
    "load_kek",
    "load_keys",
    "locked",
    "move_keys",
    "replace_keys",
]

Passphrase: TypeAlias = Callable[[], SecretBytes]
"""Asked only when a store needs it."""

_PLAIN: Final = "confide-keys"
_KEYRING: Final = "confide-keys-keyring"
_MAX_TEXT: Final = 1024 * 1024


class StoreKind(StrEnum):
    """How a store protects its KEKs."""

    FILE = "file"
    PASSPHRASE = "passphrase"  # noqa: S105 - the name of a kind
    KEYRING = "keyring"


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store says of itself without giving up a key.

    Attributes:
        kind: How it protects its KEKs.
        labels: The keys, the active one first.
    """

    kind: StoreKind
    labels: tuple[KeyLabel, ...]


def describe(path: Path) -> StoreInfo:
    """Say what a store holds. No passphrase is needed and no keyring is asked.

    Raises:
        KeystoreError: There is none, others may read it, or it is not readable.
    """
    kind, content, members = _read(path)
    if kind is StoreKind.PASSPHRASE:
        return StoreInfo(kind, sealed.read_labels(content))
    if kind is StoreKind.KEYRING:
        return StoreInfo(kind, labels_from_json(members["keys"]))
    return StoreInfo(kind, _plain(path, content, members).labels)


def load_keys(path: Path, passphrase: Passphrase | None = None) -> KeySet:
    """Open a store.

    Args:
        path: Its file.
        passphrase: Called if the store is under a passphrase.

    Raises:
        PassphraseError: The passphrase does not open it.
        KeystoreError: There is none, it needs a passphrase and none can be had, others
            may read it, or it is not readable.
    """
    kind, content, members = _read(path)
    if kind is StoreKind.KEYRING:
        return os_keyring.read(labels_from_json(members["keys"]))
    if kind is StoreKind.FILE:
        return _plain(path, content, members)
    sealed.read_labels(content)  # nobody is asked to type for a file that will be refused
    return sealed.open_keys(content, _ask(passphrase, path))


def create_keys(
    path: Path, keys: KeySet, kind: StoreKind, passphrase: Passphrase | None = None
) -> None:
    """Make a new store.

    Raises:
        KeystoreError: One is there already, the place is not writable, or the kind is not
            possible here.
    """
    if path.exists():
        raise _already(path)
    content = _content(path, keys, kind, passphrase)
    if kind is StoreKind.KEYRING:
        os_keyring.write(keys.entries)
    try:
        write_new(path, content)
    except (FileExistsError, KeystoreError) as error:
        if kind is StoreKind.KEYRING:
            os_keyring.forget(keys.ids)
        if isinstance(error, KeystoreError):
            raise
        raise _already(path) from None


def replace_keys(path: Path, keys: KeySet, passphrase: Passphrase | None = None) -> None:
    """Put another key set into a store, which keeps its kind. Hold `locked` around it.

    Raises:
        KeystoreError: It cannot be written; the old store is unchanged.
    """
    kind = _read(path)[0]
    content = _content(path, keys, kind, passphrase)
    if kind is StoreKind.KEYRING:
        known = {label.id for label in describe(path).labels}
        os_keyring.write(entry for entry in keys.entries if entry.id not in known)
    write_over(path, content)


def move_keys(
    path: Path,
    kind: StoreKind,
    *,
    passphrase: Passphrase | None = None,
    new_passphrase: Passphrase | None = None,
) -> KeySet:
    """Keep the same KEKs another way, or under another passphrase. Hold `locked` around it.

    Raises:
        KeystoreError: As `load_keys` and `create_keys`; the old store is unchanged.
    """
    keys = load_keys(path, passphrase)
    before = _read(path)[0]
    content = _content(path, keys, kind, new_passphrase)
    if kind is StoreKind.KEYRING:
        os_keyring.write(keys.entries)
    write_over(path, content)
    if before is StoreKind.KEYRING and kind is not StoreKind.KEYRING:
        os_keyring.forget(keys.ids)
    return keys


def create_kek(path: Path) -> SecretBytes:
    """Create a KEK file, mode 0600, whole or not at all; keep an existing one.

    Args:
        path: Where. The directory must exist.

    Returns:
        The KEK in the file, whoever created it.

    Raises:
        KeystoreError: The file cannot be written, or an existing one is not usable.
    """
    kek = new_kek()
    try:
        write_new(path, f"{encode_kek(kek)}\n".encode())
    except FileExistsError:
        return load_kek(path)
    return kek


def ensure_kek(path: Path) -> None:
    """Create a KEK file unless there is a store of any kind; no passphrase is asked for.

    Raises:
        KeystoreError: As `create_kek` and `describe`.
    """
    if path.exists():
        describe(path)
    else:
        create_kek(path)


def load_kek(path: Path, passphrase: Passphrase | None = None) -> SecretBytes:
    """Return the active KEK of a store.

    Raises:
        KeystoreError: As `load_keys`.
    """
    return load_keys(path, passphrase).active.kek


def _already(path: Path) -> KeystoreError:
    return KeystoreError(
        f"there is a key store {path} already; it was not changed",
        hint="confide keys rotate makes a new key and keeps the old one",
    )


def _ask(passphrase: Passphrase | None, path: Path) -> SecretBytes:
    if passphrase is None:
        raise KeystoreError(f"the key store {path} is under a passphrase, and none was given")
    return passphrase()


def _content(path: Path, keys: KeySet, kind: StoreKind, passphrase: Passphrase | None) -> bytes:
    """Write the file of a store. For the keyring that is all labels and no key."""
    if kind is StoreKind.PASSPHRASE:
        return sealed.seal_keys(keys, _ask(passphrase, path), cost=sealed.DEFAULT)
    if kind is StoreKind.KEYRING:
        labels = [label.to_json() for label in keys.labels]
        return canonical({"v": 1, "kind": _KEYRING, "keys": labels}) + b"\n"
    return canonical({"v": 1, "kind": _PLAIN, "keys": keys.to_json()}) + b"\n"


def _read(path: Path) -> tuple[StoreKind, bytes, dict[str, Any]]:
    """Read the file and tell its kind; a single KEK as text is the oldest form."""
    content = read_private(path)
    if not content.lstrip().startswith(b"{"):
        return StoreKind.FILE, content, {}
    try:
        members = object_of(content, max_bytes=_MAX_TEXT)
        kinds = {
            _PLAIN: StoreKind.FILE,
            _KEYRING: StoreKind.KEYRING,
            sealed.KIND: StoreKind.PASSPHRASE,
        }
        kind = kinds.get(str(members.get("kind")))
        if kind in (StoreKind.FILE, StoreKind.KEYRING):
            only_members(members, ["v", "kind", "keys"])
    except MalformedJSON:
        raise KeystoreError(f"the key store {path} is not readable") from None
    if kind is None or members.get("v") != 1:
        raise KeystoreError(f"the key store {path} is of another version; it cannot be opened")
    return kind, content, members


def _plain(path: Path, content: bytes, members: dict[str, Any]) -> KeySet:
    if members:
        return KeySet.from_json(members["keys"])
    try:
        return KeySet((KeyEntry(parse_kek(content.decode(), name=f"the client KEK {path}")),))
    except (ConfigError, UnicodeDecodeError) as error:
        text = str(error) if isinstance(error, ConfigError) else f"{path} holds no KEK"
        hint = "restore it from its backup: confide keys restore BACKUP.age"
        raise KeystoreError(text, hint=hint) from None
