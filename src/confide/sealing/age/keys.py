"""Who can open an age file: recipients (public) and identities (secret).

    age1pq1...              mlkem768x25519, X-Wing: what we make and ask for
    age1...                 X25519: classical, only where a caller allows it

A post-quantum stanza is HPKE in base mode with X-Wing, HKDF-SHA256 and
ChaCha20-Poly1305; its info names the stanza type. The plaintext is the file key, 16 bytes.
"""

from __future__ import annotations

import secrets
from typing import Final, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from confide.crypto import xwing
from confide.crypto.hpke import setup_recipient, setup_sender
from confide.crypto.kdf import expand, extract
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import AgeFileError, KeyConfigError, OpenError
from confide.sealing.age import bech32
from confide.sealing.age.header import Stanza, from_base64, to_base64
from confide.wire.suites import AEAD_CHACHA20POLY1305, KDF_HKDF_SHA256, KEM_XWING, Suite

__all__ = [
    "FILE_KEY_LENGTH",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Recipient",
    "X25519Identity",
    "X25519Recipient",
    "parse_identities",
    "parse_identity",
    "parse_recipient",
]

FILE_KEY_LENGTH: Final = 16
_WRAPPED: Final = FILE_KEY_LENGTH + 16
_KEY_LENGTH: Final = 32
_MAX_IDENTITIES: Final = 64

_HYBRID: Final = "mlkem768x25519"
_HYBRID_INFO: Final = b"age-encryption.org/mlkem768x25519"
_HYBRID_SUITE: Final = Suite(KEM_XWING, KDF_HKDF_SHA256, AEAD_CHACHA20POLY1305)
_CLASSIC: Final = "X25519"
_CLASSIC_INFO: Final = b"age-encryption.org/v1/X25519"
_ZERO_NONCE: Final = bytes(12)


class HybridRecipient:
    """A post-quantum recipient: 1,216 bytes, written ``age1pq1...``."""

    post_quantum = True

    def __init__(self, public_key: bytes) -> None:
        try:
            xwing.check_public_key(public_key)
        except KeyConfigError:
            raise AgeFileError("the recipient is not a valid X-Wing key") from None
        self.public_key = public_key

    def wrap(self, file_key: bytes) -> Stanza:
        """Seal a file key to this recipient."""
        enc, context = setup_sender(_HYBRID_SUITE, self.public_key, _HYBRID_INFO)
        return Stanza(_HYBRID, (to_base64(enc),), context.seal(file_key))

    def __str__(self) -> str:
        return bech32.encode("age1pq", self.public_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HybridRecipient) and other.public_key == self.public_key

    def __hash__(self) -> int:
        return hash(self.public_key)


class X25519Recipient:
    """A classical recipient: 32 bytes, written ``age1...``."""

    post_quantum = False

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key
        # An all-zero result, which a low-order point gives, is refused by the library.
        try:
            self._exchange(X25519PrivateKey.generate())
        except ValueError:
            raise AgeFileError("the recipient is not a valid X25519 key") from None

    def _exchange(self, ephemeral: X25519PrivateKey) -> bytes:
        return ephemeral.exchange(X25519PublicKey.from_public_bytes(self.public_key))

    def wrap(self, file_key: bytes) -> Stanza:
        """Seal a file key to this recipient."""
        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        key = _classic_key(self._exchange(ephemeral), share, self.public_key)
        body = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza(_CLASSIC, (to_base64(share),), body)

    def __str__(self) -> str:
        return bech32.encode("age", self.public_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, X25519Recipient) and other.public_key == self.public_key

    def __hash__(self) -> int:
        return hash(self.public_key)


class _Secret:
    """What both identities have in common: 32 secret bytes that are never printed."""

    prefix: str

    def __init__(self, seed: SecretBytes) -> None:
        if len(seed) != _KEY_LENGTH:
            raise AgeFileError("an identity is 32 bytes")
        self._seed = seed

    def reveal(self) -> str:
        """The identity as people keep it, upper case. Write it only where they asked."""
        return bech32.encode(self.prefix, self._seed.reveal()).upper()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class HybridIdentity(_Secret):
    """Opens what was sealed to its post-quantum recipient; ``AGE-SECRET-KEY-PQ-1...``."""

    prefix = "age-secret-key-pq-"

    def __init__(self, seed: SecretBytes) -> None:
        super().__init__(seed)
        self._private_key = xwing.PrivateKey.from_seed(seed.reveal())
        self.recipient = HybridRecipient(self._private_key.public_key)

    @classmethod
    def generate(cls) -> HybridIdentity:
        """Make a new identity."""
        return cls(SecretBytes(secrets.token_bytes(_KEY_LENGTH)))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """Open one stanza; None if it is for somebody else.

        Raises:
            AgeFileError: A post-quantum stanza that is malformed.
        """
        if stanza.kind != _HYBRID:
            return None
        enc = _share(stanza, xwing.ENCAPSULATED_KEY_LENGTH)
        try:
            context = setup_recipient(_HYBRID_SUITE, self._private_key, enc, _HYBRID_INFO)
        except OpenError:
            raise AgeFileError("a stanza holds an encapsulated key that is not valid") from None
        try:
            return context.open(stanza.body)
        except OpenError:
            return None


class X25519Identity(_Secret):
    """Opens what was sealed to its classical recipient; ``AGE-SECRET-KEY-1...``."""

    prefix = "age-secret-key-"

    def __init__(self, seed: SecretBytes) -> None:
        super().__init__(seed)
        self._private_key = X25519PrivateKey.from_private_bytes(seed.reveal())
        self.recipient = X25519Recipient(self._private_key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> X25519Identity:
        """Make a new identity."""
        return cls(SecretBytes(secrets.token_bytes(_KEY_LENGTH)))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """Open one stanza; None if it is for somebody else.

        Raises:
            AgeFileError: A classical stanza that is malformed.
        """
        if stanza.kind != _CLASSIC:
            return None
        share = _share(stanza, _KEY_LENGTH)
        try:
            shared = self._private_key.exchange(X25519PublicKey.from_public_bytes(share))
        except ValueError:
            raise AgeFileError("a stanza holds an encapsulated key that is not valid") from None
        key = _classic_key(shared, share, self.recipient.public_key)
        try:
            return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, stanza.body, None)
        except InvalidTag:
            return None


Recipient: TypeAlias = HybridRecipient | X25519Recipient


class Identity(Protocol):
    """Anything that can open a stanza."""

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """Return the file key, or None if the stanza is for somebody else."""


def _share(stanza: Stanza, length: int) -> bytes:
    """Check the shape of a stanza before any of its bytes are used; return its share."""
    if len(stanza.arguments) != 1 or len(stanza.body) != _WRAPPED:
        raise AgeFileError("a stanza has the wrong shape for its type")
    share = from_base64(stanza.arguments[0])
    if len(share) != length:
        raise AgeFileError("a stanza holds an encapsulated key of the wrong length")
    return share


def _classic_key(shared: bytes, share: bytes, recipient: bytes) -> bytes:
    prk = extract(KDF_HKDF_SHA256, share + recipient, shared)
    return expand(KDF_HKDF_SHA256, prk, _CLASSIC_INFO, 32)


def parse_recipient(text: str) -> Recipient:
    """Read ``age1pq1...`` or ``age1...``.

    Raises:
        AgeFileError: Neither, mistyped, or not a valid key.
    """
    prefix, data = bech32.decode(text.strip())
    if prefix == "age1pq":
        return HybridRecipient(data)
    if prefix == "age" and len(data) == _KEY_LENGTH:
        return X25519Recipient(data)
    raise AgeFileError("a recipient starts with age1pq1 (post-quantum) or age1 (classical)")


def parse_identity(text: str) -> HybridIdentity | X25519Identity:
    """Read ``AGE-SECRET-KEY-PQ-1...`` or ``AGE-SECRET-KEY-1...``.

    Raises:
        AgeFileError: Neither, or mistyped. The text is not quoted.
    """
    prefix, data = bech32.decode(text.strip())
    for kind in (HybridIdentity, X25519Identity):
        if prefix == kind.prefix:
            return kind(SecretBytes(data))
    raise AgeFileError("an identity starts with AGE-SECRET-KEY-PQ-1 or AGE-SECRET-KEY-1")


def parse_identities(text: str) -> tuple[HybridIdentity | X25519Identity, ...]:
    """Read an identity file: one identity a line; empty lines and # comments are skipped.

    Raises:
        AgeFileError: No identity, more than 64, or one that cannot be read.
    """
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    if not 0 < len(lines) <= _MAX_IDENTITIES:
        raise AgeFileError(f"an identity file holds 1 to {_MAX_IDENTITIES} identities")
    return tuple(parse_identity(line) for line in lines)
