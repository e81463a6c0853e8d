"""The keyring of the operating system, through the library `keyring` (extra of that name).

One entry per KEK, named by its fingerprint. Which entries belong to a store is in the
store's file; the file holds no secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from confide.client.keystore.kek import encode_kek, fingerprint, parse_kek
from confide.client.keystore.keyset import KeyEntry, KeyLabel, KeySet
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import ConfigError, KeystoreError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["SERVICE", "forget", "read", "require", "write"]

SERVICE: Final = "confide"

_ELSEWHERE: Final = (
    "use --store passphrase (a file under a passphrase), or --store file (a file that any"
    " program of yours can read)"
)


def require() -> KeyringBackend:
    """Return the keyring of this machine.

    Raises:
        KeystoreError: The extra is not installed, or the machine has no keyring that
            protects what it holds.
    """
    try:
        import keyring
    except ModuleNotFoundError:
        raise KeystoreError(
            "the library for the system's keyring is not installed",
            hint=f"pip install 'confide[keyring]', or {_ELSEWHERE}",
        ) from None
    try:
        backend = keyring.get_keyring()
        # Backends that keep nothing, or keep it in the clear, have a priority below 1; one
        # that was chosen by hand and cannot work here raises.
        usable = backend.priority >= 1
    except (RuntimeError, ImportError):
        usable = False
    if not usable:
        raise KeystoreError("this machine has no keyring that confide can use", hint=_ELSEWHERE)
    return backend


def write(entries: Iterable[KeyEntry]) -> None:
    """Put KEKs into the keyring and read each back.

    Raises:
        KeystoreError: There is no keyring, it is locked, or it does not keep what it got.
    """
    from keyring.errors import KeyringError

    backend = require()
    for entry in entries:
        try:
            backend.set_password(SERVICE, _name(entry.id), encode_kek(entry.kek))
        except KeyringError:
            raise KeystoreError("the keyring refused the key", hint="unlock it") from None
        if _get(entry.id) != entry.kek:
            raise KeystoreError("the keyring does not keep what it is given", hint=_ELSEWHERE)


def read(labels: Iterable[KeyLabel]) -> KeySet:
    """Fetch KEKs by their labels.

    Raises:
        KeystoreError: One is missing, or is not the one it is named after.
    """
    return KeySet(tuple(KeyEntry(_get(label.id), label.created, label.retired) for label in labels))


def forget(ids: Iterable[str]) -> None:
    """Remove KEKs; those that are not there are passed over.

    Raises:
        KeystoreError: The keyring is locked.
    """
    from keyring.errors import KeyringError, PasswordDeleteError

    backend = require()
    for key_id in ids:
        try:
            backend.delete_password(SERVICE, _name(key_id))
        except PasswordDeleteError:
            continue
        except KeyringError:
            raise KeystoreError("the keyring kept the old entries", hint="unlock it") from None


def _name(key_id: str) -> str:
    return f"kek {key_id}"


def _get(key_id: str) -> SecretBytes:
    from keyring.errors import KeyringError

    try:
        text = require().get_password(SERVICE, _name(key_id))
    except KeyringError:
        raise KeystoreError("the keyring did not give out the key", hint="unlock it") from None
    if text is None:
        raise KeystoreError(
            f"the keyring holds no key {key_id}", hint="restore it: confide keys restore"
        )
    try:
        kek = parse_kek(text)
    except ConfigError:
        raise KeystoreError(f"the entry {key_id} of the keyring is not a key") from None
    if fingerprint(kek) != key_id:
        raise KeystoreError(f"the keyring holds another key under the name {key_id}")
    return kek
