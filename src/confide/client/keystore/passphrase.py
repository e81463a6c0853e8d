"""A key store under a passphrase: Argon2id makes the key, AES-256-GCM seals the KEKs.

    {"v":1,"kind":"confide-keys-passphrase","kdf":"argon2id","memory_kib":..,"iterations":..,
     "lanes":..,"salt":b64url(16),"cipher":"aes-256-gcm","nonce":b64url(12),
     "keys":[{"id":..,"created":..,"retired":..}],"ciphertext":b64url}

The associated data is this object without its ciphertext, in canonical form, so nothing
of it can be changed. Costs below `FLOOR` are refused before anything is derived: a file
that was weakened on purpose must not be trusted with the next passphrase.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from confide.client.keystore.keyset import KeyLabel, KeySet, labels_from_json
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeystoreError, PassphraseError
from confide.wire.strict_json import (
    MalformedJSON,
    b64url,
    b64url_bytes,
    canonical,
    object_of,
    only_members,
)

__all__ = [
    "CEILING",
    "DEFAULT",
    "FLOOR",
    "KIND",
    "MINIMUM_LENGTH",
    "Cost",
    "existing_passphrase",
    "new_passphrase",
    "open_keys",
    "read_labels",
    "seal_keys",
]

KIND: Final = "confide-keys-passphrase"
MINIMUM_LENGTH: Final = 16
_MINIMUM_DISTINCT: Final = 8
_MAXIMUM_BYTES: Final = 1024
_SALT: Final = 16
_NONCE: Final = 12
_MAX_TEXT: Final = 1024 * 1024
_HEADER: Final = ("v", "kind", "kdf", "memory_kib", "iterations", "lanes", "salt", "cipher")
_MEMBERS: Final = (*_HEADER, "nonce", "keys", "ciphertext")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs: memory in KiB, passes over it, lanes."""

    memory_kib: int
    iterations: int
    lanes: int


DEFAULT: Final = Cost(256 * 1024, 3, 4)
FLOOR: Final = Cost(64 * 1024, 3, 1)
"""The second recommended option of RFC 9106 has this memory and these passes."""
CEILING: Final = Cost(2 * 1024 * 1024, 32, 16)
"""Above this a file would stop the machine instead of opening."""


def new_passphrase(text: str) -> SecretBytes:
    """Accept a passphrase for a new store.

    The rule: at least 16 characters, at least 8 different ones, not digits alone. Digits
    alone are a PIN, and a PIN is guessed offline from a stolen file.

    Returns:
        UTF-8 of the text in Unicode form NFC, so that it can be typed on another system.

    Raises:
        PassphraseError: The rule is not met. The message does not quote it.
    """
    normal = unicodedata.normalize("NFC", text)
    if len(normal) < MINIMUM_LENGTH:
        raise PassphraseError(
            f"the passphrase is too short: use at least {MINIMUM_LENGTH} characters",
            hint="five or six random words are easy to remember and hard to guess",
        )
    if all(letter.isdigit() or not letter.isalnum() for letter in normal):
        raise PassphraseError("the passphrase is a PIN: use letters or words as well")
    if len(set(normal)) < _MINIMUM_DISTINCT:
        raise PassphraseError(
            f"the passphrase repeats itself: use at least {_MINIMUM_DISTINCT} different characters"
        )
    return existing_passphrase(text)


def existing_passphrase(text: str) -> SecretBytes:
    """Take a passphrase for a store that exists: no rule but a limit of 1,024 bytes.

    Raises:
        PassphraseError: Longer, or not Unicode text.
    """
    try:
        raw = unicodedata.normalize("NFC", text).encode()
    except UnicodeEncodeError:
        raise PassphraseError("the passphrase is not Unicode text") from None
    if len(raw) > _MAXIMUM_BYTES:
        raise PassphraseError(f"the passphrase is longer than {_MAXIMUM_BYTES} bytes")
    return SecretBytes(raw)


def seal_keys(keys: KeySet, passphrase: SecretBytes, *, cost: Cost = DEFAULT) -> bytes:
    """Write a key set as a file under a passphrase, with fresh salt and nonce."""
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    header: dict[str, Any] = {
        "v": 1,
        "kind": KIND,
        "kdf": "argon2id",
        "memory_kib": cost.memory_kib,
        "iterations": cost.iterations,
        "lanes": cost.lanes,
        "salt": b64url(salt),
        "cipher": "aes-256-gcm",
        "nonce": b64url(nonce),
        "keys": [label.to_json() for label in keys.labels],
    }
    plaintext = canonical({"keys": keys.to_json()})
    sealed = _cipher(passphrase, salt, cost).encrypt(nonce, plaintext, canonical(header))
    return canonical({**header, "ciphertext": b64url(sealed)}) + b"\n"


def open_keys(content: bytes, passphrase: SecretBytes) -> KeySet:
    """Open what `seal_keys` wrote.

    Raises:
        KeystoreError: Malformed, or costs below `FLOOR` or above `CEILING`.
        PassphraseError: The passphrase is another one, or the file was changed; nobody
            can tell which.
    """
    header, cost, salt, nonce, sealed = _parse(content)
    try:
        plaintext = _cipher(passphrase, salt, cost).decrypt(nonce, sealed, canonical(header))
    except InvalidTag:
        raise PassphraseError("wrong passphrase, or the key store was changed") from None
    try:
        members = object_of(plaintext, max_bytes=_MAX_TEXT)
        only_members(members, ["keys"])
    except MalformedJSON:
        raise KeystoreError("the key store is not readable") from None
    keys = KeySet.from_json(members["keys"])
    if keys.labels != labels_from_json(header["keys"]):
        raise KeystoreError("the key store holds other keys than it says")
    return keys


def read_labels(content: bytes) -> tuple[KeyLabel, ...]:
    """Read what the file says it holds, without the passphrase; not authenticated.

    Raises:
        KeystoreError: As `open_keys`.
    """
    return labels_from_json(_parse(content)[0]["keys"])


def _parse(content: bytes) -> tuple[dict[str, Any], Cost, bytes, bytes, bytes]:
    try:
        members = object_of(content, max_bytes=_MAX_TEXT)
        only_members(members, _MEMBERS)
        salt = b64url_bytes(members["salt"], "salt", length=_SALT)
        nonce = b64url_bytes(members["nonce"], "nonce", length=_NONCE)
        sealed = b64url_bytes(members.pop("ciphertext"), "ciphertext")
    except (MalformedJSON, KeyError):
        raise KeystoreError("the key store is not readable") from None
    named = (members["v"], members["kdf"], members["cipher"])
    if named != (1, "argon2id", "aes-256-gcm"):
        raise KeystoreError("the key store is of another version; this program cannot open it")
    return members, _cost(members), salt, nonce, sealed


def _cost(members: dict[str, Any]) -> Cost:
    numbers = (members["memory_kib"], members["iterations"], members["lanes"])
    if not all(type(number) is int for number in numbers):
        raise KeystoreError("the key store is not readable")
    cost = Cost(*numbers)
    for name in ("memory_kib", "iterations", "lanes"):
        value = getattr(cost, name)
        if value < getattr(FLOOR, name):
            raise KeystoreError(
                f"the key store was made weaker than confide makes any ({name} {value})",
                hint="do not type your passphrase for it; restore from a backup",
            )
        if value > getattr(CEILING, name):
            raise KeystoreError(f"the key store asks for too much work ({name} {value})")
    return cost


def _cipher(passphrase: SecretBytes, salt: bytes, cost: Cost) -> AESGCM:
    try:
        derivation = Argon2id(
            salt=salt,
            length=32,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        )
        return AESGCM(derivation.derive(passphrase.reveal()))
    except UnsupportedAlgorithm:
        raise KeystoreError(
            "this build of the cryptography library has no Argon2id",
            hint="install it from its wheel, or use --store keyring",
        ) from None
    except MemoryError:
        raise KeystoreError(
            f"not enough memory to open the key store ({cost.memory_kib // 1024} MiB are needed)"
        ) from None
