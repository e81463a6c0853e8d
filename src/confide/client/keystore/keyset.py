"""The KEKs of one person: one active, and the retired ones that older files need.

A KEK's id is its fingerprint, so a key that was swapped or damaged is noticed whenever
it is read, wherever it lay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from confide.client.keystore.kek import encode_kek, fingerprint, new_kek, parse_kek
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import ConfigError, KeystoreError

__all__ = ["MAX_KEYS", "KeyEntry", "KeyLabel", "KeySet", "labels_from_json"]

MAX_KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """What may be shown of a KEK.

    Attributes:
        id: Fingerprint, 16 hexadecimal digits.
        created: Unix seconds, or None if nobody noted it.
        retired: Unix seconds, or None for the active one.
    """

    id: str
    created: int | None
    retired: int | None

    def to_json(self) -> dict[str, object]:
        """The label as JSON values."""
        return {"id": self.id, "created": self.created, "retired": self.retired}


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A KEK and its label."""

    kek: SecretBytes
    created: int | None = None
    retired: int | None = None

    @property
    def id(self) -> str:
        """Fingerprint, 16 hexadecimal digits."""
        return fingerprint(self.kek)

    @property
    def label(self) -> KeyLabel:
        """The part that is no secret."""
        return KeyLabel(self.id, self.created, self.retired)


@dataclass(frozen=True, slots=True)
class KeySet:
    """All KEKs, the active one first.

    Attributes:
        entries: Distinct keys; exactly the first is not retired.
    """

    entries: tuple[KeyEntry, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.entries) <= MAX_KEYS:
            raise KeystoreError(f"a key store holds 1 to {MAX_KEYS} keys")
        first, *rest = self.entries
        if first.retired is not None or any(entry.retired is None for entry in rest):
            raise KeystoreError("a key store has exactly one active key")
        if len(set(self.ids)) != len(self.entries):
            raise KeystoreError("a key store holds a key twice")

    @classmethod
    def create(cls, now: float) -> KeySet:
        """Make a set of one new KEK."""
        return cls((KeyEntry(new_kek(), int(now)),))

    @property
    def active(self) -> KeyEntry:
        """The KEK that wraps new keys."""
        return self.entries[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """Fingerprints in order."""
        return tuple(entry.id for entry in self.entries)

    @property
    def labels(self) -> tuple[KeyLabel, ...]:
        """What may be shown."""
        return tuple(entry.label for entry in self.entries)

    def find(self, key_id: str) -> KeyEntry:
        """Look up a KEK, active or retired.

        Raises:
            KeystoreError: No such key.
        """
        for entry in self.entries:
            if entry.id == key_id:
                return entry
        raise KeystoreError(f"the key store holds no key {key_id}")

    def rotate(self, now: float) -> KeySet:
        """Return a set with a new active KEK; the one before is kept as retired."""
        return self.merge(KeySet.create(now), now)

    def merge(self, other: KeySet, now: float) -> KeySet:
        """Return all keys of both sets.

        The active key is that of `other`, unless this set has it already: then `other` is
        older (a backup made before a rotation), and the active key stays.
        """
        if other.active.id in self.ids:
            return KeySet(self.entries + tuple(e for e in other.entries if e.id not in self.ids))
        known = set(other.ids)
        kept = tuple(
            entry if entry.retired is not None else replace(entry, retired=int(now))
            for entry in self.entries
            if entry.id not in known
        )
        return KeySet(other.entries + kept)

    def to_json(self) -> list[dict[str, object]]:
        """The keys as JSON values, KEKs in base64. Secret."""
        return [{**entry.label.to_json(), "kek": encode_kek(entry.kek)} for entry in self.entries]

    @classmethod
    def from_json(cls, value: object) -> KeySet:
        """Read what `to_json` wrote.

        Raises:
            KeystoreError: Another shape, or a key whose fingerprint is not its id.
        """
        entries = []
        for item in _objects(value, {"id", "created", "retired", "kek"}):
            label, text = _label(item), item["kek"]
            try:
                kek = parse_kek(text if isinstance(text, str) else "")
            except ConfigError:
                raise KeystoreError("a key in the key store is not 32 bytes in base64") from None
            entry = KeyEntry(kek, label.created, label.retired)
            if entry.id != label.id:
                raise KeystoreError("a key in the key store is not the one it is named after")
            entries.append(entry)
        return cls(tuple(entries))


def labels_from_json(value: object) -> tuple[KeyLabel, ...]:
    """Read labels without keys.

    Raises:
        KeystoreError: Another shape, or not exactly one active key, first.
    """
    labels = tuple(_label(item) for item in _objects(value, {"id", "created", "retired"}))
    if [label.retired is None for label in labels].count(True) != 1 or labels[0].retired:
        raise KeystoreError("a key store has exactly one active key")
    return labels


def _objects(value: object, members: set[str]) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_KEYS:
        raise KeystoreError("the list of keys is not readable")
    if not all(isinstance(item, dict) and item.keys() == members for item in value):
        raise KeystoreError("an entry of the list of keys is not readable")
    return value


def _label(item: Mapping[str, Any]) -> KeyLabel:
    key_id, created, retired = item["id"], item["created"], item["retired"]
    times = [time for time in (created, retired) if time is not None]
    if not isinstance(key_id, str) or not all(type(time) is int for time in times):
        raise KeystoreError("an entry of the list of keys is not readable")
    if len(key_id) != 16 or not set(key_id) <= set("0123456789abcdef"):
        raise KeystoreError("an entry of the list of keys has no fingerprint")
    return KeyLabel(key_id, created, retired)
