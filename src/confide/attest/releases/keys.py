"""Who may sign a release, how many of them it takes, and how they hand over.

A signer holds two keys, Ed25519 and ML-DSA-65 (FIPS 204), and every signature is one of
each, so that a release stays unforgeable while either of the two holds. Its id is a
digest of both public keys.

The signers are listed in a document, signed like a release (`dsse`). Version n+1 counts
only with enough signatures of the signers of version n *and* of its own: the first says
that the change was wanted, the second that the new keys are in somebody's hands. This is
the rule of TUF's root role; decision 9 says why the rest of TUF is left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from confide.attest.releases.dsse import MAX_SIGNATURES, Envelope, Signature
from confide.attest.results import LATEST, to_unix
from confide.attest.strict_json import (
    exact_members,
    read_base64url,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.errors import ConfigError, EndorsementError, EvidenceError
from confide.wire.strict_json import b64url

__all__ = ["KEYS_TYPE", "PublicKey", "ReleaseKeys", "SigningKey", "require_signatures"]

KEYS_TYPE: Final = "application/vnd.confide.release-keys+json"
_ID_LABEL: Final = b"confide/release-key/v1\0"
_ED25519_PUBLIC: Final = 32
_ED25519_SIGNATURE: Final = 64
_MLDSA_PUBLIC: Final = 1952
_MAX_FILE: Final = 64 * 1024


@dataclass(frozen=True)
class PublicKey:
    """The public half of one signer.

    Attributes:
        ed25519: 32 bytes.
        mldsa65: 1952 bytes.
    """

    ed25519: bytes = field(repr=False)
    mldsa65: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.ed25519) != _ED25519_PUBLIC or len(self.mldsa65) != _MLDSA_PUBLIC:
            raise ConfigError("a release key is an Ed25519 and an ML-DSA-65 public key")

    @property
    def id(self) -> str:
        """64 hex digits: SHA-256 over a label and both keys."""
        return hashlib.sha256(_ID_LABEL + self.ed25519 + self.mldsa65).hexdigest()

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check both halves of a signature over `message`.

        Raises:
            EndorsementError: reference.signature; one half or both do not hold.
        """
        classical, quantum = signature[:_ED25519_SIGNATURE], signature[_ED25519_SIGNATURE:]
        try:
            Ed25519PublicKey.from_public_bytes(self.ed25519).verify(classical, message)
            MLDSA65PublicKey.from_public_bytes(self.mldsa65).verify(quantum, message)
        except (InvalidSignature, ValueError):
            raise EndorsementError(
                f"not signed by the release key {self.id}", code="reference.signature"
            ) from None

    def to_pem(self) -> bytes:
        """Return two SubjectPublicKeyInfo blocks, Ed25519 first."""
        spki = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return Ed25519PublicKey.from_public_bytes(self.ed25519).public_bytes(
            *spki
        ) + MLDSA65PublicKey.from_public_bytes(self.mldsa65).public_bytes(*spki)

    @classmethod
    def from_pem(cls, raw: bytes) -> PublicKey:
        """Read what `to_pem` wrote.

        Raises:
            ConfigError: It is not one Ed25519 and one ML-DSA-65 key.
        """
        try:
            first, second = (serialization.load_pem_public_key(one) for one in _blocks(raw))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError("not the public half of a release key") from None
        if not isinstance(first, Ed25519PublicKey) or not isinstance(second, MLDSA65PublicKey):
            raise ConfigError("not an Ed25519 and an ML-DSA-65 public key")
        return cls(first.public_bytes_raw(), second.public_bytes_raw())


class SigningKey:
    """One signer. Keep it away from machines that serve anything."""

    def __init__(self, ed25519: Ed25519PrivateKey, mldsa65: MLDSA65PrivateKey) -> None:
        self._ed25519 = ed25519
        self._mldsa65 = mldsa65
        self.public = PublicKey(
            ed25519.public_key().public_bytes_raw(), mldsa65.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new one."""
        return cls(Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate())

    def __repr__(self) -> str:
        return f"SigningKey({self.public.id})"

    def sign(self, envelope: Envelope) -> Envelope:
        """Return the envelope with a signature of both keys: 64 and 3309 bytes."""
        message = envelope.signed_bytes
        value = self._ed25519.sign(message) + self._mldsa65.sign(message)
        return envelope.with_signature(Signature(self.public.id, value))

    def to_pem(self, passphrase: bytes | None) -> bytes:
        """Return two PKCS #8 blocks, encrypted if there is a passphrase."""
        encryption = (
            serialization.NoEncryption()
            if passphrase is None
            else serialization.BestAvailableEncryption(passphrase)
        )
        return b"".join(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
            for key in (self._ed25519, self._mldsa65)
        )

    @classmethod
    def from_pem(cls, raw: bytes, passphrase: bytes | None) -> SigningKey:
        """Read what `to_pem` wrote.

        Raises:
            ConfigError: It is not such a key, or the passphrase does not open it.
        """
        try:
            first, second = (
                serialization.load_pem_private_key(one, passphrase) for one in _blocks(raw)
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The cause may say which of the two it was; the message need not.
            raise ConfigError(
                "not a release key, or it is under another passphrase",
                hint="an encrypted key needs --passphrase-file, a plain one must not have it",
            ) from None
        if not isinstance(first, Ed25519PrivateKey) or not isinstance(second, MLDSA65PrivateKey):
            raise ConfigError("not an Ed25519 and an ML-DSA-65 private key")
        return cls(first, second)


def _blocks(raw: bytes) -> list[bytes]:
    """Split a file into its two PEM blocks.

    Raises:
        ValueError: There are not two, or the file is too large.
    """
    if len(raw) > _MAX_FILE:
        raise ValueError("too large")
    parts = raw.strip().split(b"\n-----BEGIN ")
    if len(parts) != 2:
        raise ValueError("not two keys")
    return [parts[0] + b"\n", b"-----BEGIN " + parts[1] + b"\n"]


@dataclass(frozen=True)
class ReleaseKeys:
    """The signers of one publisher.

    Attributes:
        name: Of the publisher.
        version: 1, then one more with each change.
        not_after: They sign nothing at or after this instant.
        threshold: How many signatures it takes.
        keys: At least `threshold`, at most 16, all different.
    """

    name: str
    version: int
    not_after: datetime
    threshold: int
    keys: tuple[PublicKey, ...] = field(repr=False)

    def __post_init__(self) -> None:
        to_unix(self.not_after)
        if not 1 <= self.threshold <= len(self.keys) <= MAX_SIGNATURES:
            raise ConfigError(
                f"a threshold of {self.threshold} does not fit {len(self.keys)} keys",
                code="reference.keys",
            )
        if len({key.id for key in self.keys}) != len(self.keys):
            raise ConfigError("a release key is listed twice", code="reference.keys")
        # One signer with two ids would count twice.
        if len({key.ed25519 for key in self.keys}) != len(self.keys):
            raise ConfigError("two release keys share an Ed25519 key", code="reference.keys")
        if len({key.mldsa65 for key in self.keys}) != len(self.keys):
            raise ConfigError("two release keys share an ML-DSA-65 key", code="reference.keys")
        if self.version < 1 or not self.name:
            raise ConfigError("release keys have a name and a version from 1")

    def unsigned(self) -> Envelope:
        """Return the document, to be signed."""
        payload = {
            "v": 1,
            "name": self.name,
            "version": self.version,
            "not_after": to_unix(self.not_after),
            "threshold": self.threshold,
            "keys": [
                {"ed25519": b64url(key.ed25519), "mldsa65": b64url(key.mldsa65)}
                for key in self.keys
            ],
        }
        return Envelope(KEYS_TYPE, json.dumps(payload, separators=(",", ":")).encode("ascii"), ())

    @classmethod
    def parse(cls, raw: bytes) -> ReleaseKeys:
        """Read a document that enough of its own signers signed. That is no reason to trust it.

        Raises:
            EvidenceError: Malformed.
            EndorsementError: reference.signature or reference.threshold.
            ConfigError: reference.keys: the signers cannot be counted.
        """
        envelope = Envelope.parse(raw)
        keys = _read(envelope)
        require_signatures(envelope, keys)
        return keys

    def rotated(self, raw: bytes, *, at: datetime) -> ReleaseKeys:
        """Read the next version. The present one may have expired: a late hand-over is one.

        Raises:
            EvidenceError: Malformed.
            EndorsementError: reference.rotation: not the next version of these keys;
                reference.signature, reference.threshold or reference.keys_expired.
            ConfigError: reference.keys: the signers cannot be counted.
        """
        envelope = Envelope.parse(raw)
        require_signatures(envelope, self)
        successor = _read(envelope)
        if successor.name != self.name or successor.version != self.version + 1:
            raise EndorsementError(
                f"version {successor.version} of {successor.name!r} does not follow "
                f"version {self.version} of {self.name!r}",
                code="reference.rotation",
            )
        require_signatures(envelope, successor)
        successor.require_current(at)
        return successor

    def require_current(self, at: datetime) -> None:
        """Refuse signers whose time has ended.

        Raises:
            EndorsementError: reference.keys_expired.
        """
        if at >= self.not_after:
            raise EndorsementError(
                f"the release keys of {self.name} ended on {self.not_after}",
                code="reference.keys_expired",
                hint="confide release trust NEXT_KEYS",
            )


def require_signatures(envelope: Envelope, keys: ReleaseKeys) -> tuple[str, ...]:
    """Return the ids of the signers whose signatures hold.

    Raises:
        EndorsementError: reference.signature: none of these keys signed it;
            reference.threshold: too few did.
    """
    message = envelope.signed_bytes
    values = {one.key_id: one.value for one in envelope.signatures}
    signers: list[str] = []
    for key in keys.keys:
        with contextlib.suppress(EndorsementError):
            key.verify(values.get(key.id, b""), message)
            signers.append(key.id)
    if not signers:
        raise EndorsementError(
            f"not signed by a release key of {keys.name}", code="reference.signature"
        )
    if len(signers) < keys.threshold:
        raise EndorsementError(
            f"signed by {len(signers)} of the release keys of {keys.name}; "
            f"it takes {keys.threshold}",
            code="reference.threshold",
        )
    return tuple(signers)


def _read(envelope: Envelope) -> ReleaseKeys:
    if envelope.payload_type != KEYS_TYPE:
        raise EvidenceError("not a document of release keys", code="envelope.type")
    members = read_object(envelope.payload, limit=len(envelope.payload))
    exact_members(members, required=("v", "name", "version", "not_after", "threshold", "keys"))
    if read_integer(members["v"], "v") != 1:
        raise EvidenceError("unknown version of release keys", code="envelope.version")
    not_after = min(read_integer(members["not_after"], "not_after"), LATEST)
    keys: Sequence[PublicKey] = read_list(
        members["keys"], "keys", limit=MAX_SIGNATURES, item=_read_key
    )
    return ReleaseKeys(
        name=read_text(members["name"], "name", limit=128),
        version=read_integer(members["version"], "version"),
        not_after=datetime.fromtimestamp(not_after, tz=UTC),
        threshold=read_integer(members["threshold"], "threshold"),
        keys=tuple(keys),
    )


def _read_key(value: object) -> PublicKey:
    if not isinstance(value, dict):
        raise EvidenceError("a release key is not an object", code="envelope.json")
    exact_members(value, required=("ed25519", "mldsa65"))
    return PublicKey(
        read_base64url(value["ed25519"], "ed25519", limit=_ED25519_PUBLIC, length=_ED25519_PUBLIC),
        read_base64url(value["mldsa65"], "mldsa65", limit=_MLDSA_PUBLIC, length=_MLDSA_PUBLIC),
    )
