"""HPKE contexts with an exporter (RFC 9180), because no Python library has them for X-Wing.

Only the key schedule is written here, over the library's HKDF and AEADs; KEMs are
in `xwing` and `dhkem`. The product uses base mode. Mode psk exists for the vectors
of the RFC and is reached through `schedule` only.

A context belongs to one task. Its sequence number advances only after success.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag

from confide.crypto import dhkem, xwing
from confide.crypto.aead import Aead, make_aead
from confide.crypto.chunks import ChunkOpener, ChunkSealer
from confide.crypto.kdf import (
    is_single_stage,
    labeled_derive,
    labeled_expand,
    labeled_extract,
    length_prefixed,
)
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeyConfigError, OpenError, SealingError, StreamClosed
from confide.wire.suites import KEM_XWING, Suite

__all__ = [
    "MODE_BASE",
    "MODE_PSK",
    "DecapsulationKey",
    "KeySchedule",
    "RecipientContext",
    "SenderContext",
    "schedule",
    "setup_recipient",
    "setup_sender",
]

MODE_BASE = 0
MODE_PSK = 1
_SUITE = struct.Struct(">4sHHH")


class DecapsulationKey(Protocol):
    """A decapsulation key of some KEM."""

    @property
    def kem_id(self) -> int:
        """HPKE KEM identifier."""

    @property
    def public_key(self) -> bytes:
        """Npk bytes."""

    def decapsulate(self, encapsulated_key: bytes) -> SecretBytes:
        """Recover the shared secret; raises `OpenError`."""


class KeySchedule(NamedTuple):
    """What the key schedule yields: Nk, Nn and Nh bytes."""

    key: bytes
    base_nonce: bytes
    exporter_secret: bytes

    def __repr__(self) -> str:
        return "<KeySchedule>"


def _suite_id(suite: Suite) -> bytes:
    return _SUITE.pack(b"HPKE", suite.kem_id, suite.kdf_id, suite.aead_id)


def schedule(
    suite: Suite,
    shared_secret: SecretBytes,
    info: bytes,
    *,
    psk: bytes = b"",
    psk_id: bytes = b"",
) -> KeySchedule:
    """Run the key schedule (RFC 9180 section 5.1; single-stage: draft-ietf-hpke-pq).

    Args:
        suite: Identifiers and lengths.
        shared_secret: Nsecret bytes from the KEM.
        info: Application context.
        psk: Pre-shared key; with `psk_id` it selects mode psk.
        psk_id: Name of the pre-shared key.

    Raises:
        ValueError: Only one of `psk` and `psk_id` is given.
    """
    if bool(psk) != bool(psk_id):
        raise ValueError("psk and psk_id come together")
    mode = bytes((MODE_PSK if psk else MODE_BASE,))
    suite_id = _suite_id(suite)
    kdf_id = suite.kdf_id
    if is_single_stage(kdf_id):
        secrets = length_prefixed(psk) + length_prefixed(shared_secret.reveal())
        context = mode + length_prefixed(psk_id) + length_prefixed(info)
        length = suite.nk + suite.nn + suite.nh
        secret = labeled_derive(kdf_id, suite_id, secrets, b"secret", context, length)
        end = suite.nk + suite.nn
        return KeySchedule(secret[: suite.nk], secret[suite.nk : end], secret[end:])
    context = b"".join(
        (
            mode,
            labeled_extract(kdf_id, suite_id, b"", b"psk_id_hash", psk_id),
            labeled_extract(kdf_id, suite_id, b"", b"info_hash", info),
        )
    )
    secret = labeled_extract(kdf_id, suite_id, shared_secret.reveal(), b"secret", psk)
    key = base_nonce = b""
    if suite.nk:
        key = labeled_expand(kdf_id, suite_id, secret, b"key", context, suite.nk)
        base_nonce = labeled_expand(kdf_id, suite_id, secret, b"base_nonce", context, suite.nn)
    exporter = labeled_expand(kdf_id, suite_id, secret, b"exp", context, suite.nh)
    return KeySchedule(key, base_nonce, exporter)


@dataclass(slots=True, eq=False)
class _Context:
    """Keys, nonces and exporter of one context."""

    suite: Suite
    _schedule: KeySchedule | None = field(repr=False)
    _exporter_secret: bytes = field(repr=False)
    _aead: Aead | None = field(default=None, repr=False)
    _sequence: int = 0

    def export(self, context: bytes, length: int) -> bytes:
        """Derive `length` secret bytes for a purpose (RFC 9180 section 5.3)."""
        suite_id = _suite_id(self.suite)
        secret, kdf_id = self._exporter_secret, self.suite.kdf_id
        if is_single_stage(kdf_id):
            return labeled_derive(kdf_id, suite_id, secret, b"sec", context, length)
        return labeled_expand(kdf_id, suite_id, secret, b"sec", context, length)

    def _cipher(self) -> tuple[Aead, bytes]:
        if self._schedule is None:
            raise StreamClosed
        if self._aead is None:
            self._aead = make_aead(self.suite.aead_id, self._schedule.key)
        base = int.from_bytes(self._schedule.base_nonce, "big")
        if self._sequence >= 1 << 64:
            raise SealingError("too many messages under one key")
        return self._aead, (base ^ self._sequence).to_bytes(self.suite.nn, "big")

    def _hand_over(self) -> KeySchedule:
        if self._schedule is None or self._sequence:
            raise StreamClosed
        keys, self._schedule = self._schedule, None
        return keys


class SenderContext(_Context):
    """The sender's side: seals messages in order."""

    __slots__ = ()

    @classmethod
    def of(
        cls,
        suite: Suite,
        shared_secret: SecretBytes,
        info: bytes,
        *,
        psk: bytes = b"",
        psk_id: bytes = b"",
    ) -> SenderContext:
        """Build a context from a KEM's shared secret."""
        keys = schedule(suite, shared_secret, info, psk=psk, psk_id=psk_id)
        return cls(suite, keys, keys.exporter_secret)

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Seal the next message; 16 bytes longer.

        Raises:
            StreamClosed: The context was turned into a chunk stream.
        """
        aead, nonce = self._cipher()
        ciphertext = aead.encrypt(nonce, plaintext, aad)
        self._sequence += 1
        return ciphertext

    def into_chunks(self) -> ChunkSealer:
        """Continue as a chunk stream; this context then only exports.

        Raises:
            StreamClosed: A message was already sealed.
        """
        keys = self._hand_over()
        return ChunkSealer(keys.key, keys.base_nonce, self.suite.aead_id)


class RecipientContext(_Context):
    """The recipient's side: opens messages in order."""

    __slots__ = ()

    @classmethod
    def of(
        cls,
        suite: Suite,
        shared_secret: SecretBytes,
        info: bytes,
        *,
        psk: bytes = b"",
        psk_id: bytes = b"",
    ) -> RecipientContext:
        """Build a context from a KEM's shared secret."""
        keys = schedule(suite, shared_secret, info, psk=psk, psk_id=psk_id)
        return cls(suite, keys, keys.exporter_secret)

    def open(self, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Open the next message. After a failure the same position may be tried again.

        Raises:
            OpenError: Not the next message of this context.
            StreamClosed: The context was turned into a chunk stream.
        """
        aead, nonce = self._cipher()
        try:
            plaintext = aead.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise OpenError from None
        self._sequence += 1
        return plaintext

    def into_chunks(self) -> ChunkOpener:
        """Continue as a chunk stream; this context then only exports.

        Raises:
            StreamClosed: A message was already opened.
        """
        keys = self._hand_over()
        return ChunkOpener(keys.key, keys.base_nonce, self.suite.aead_id)


def setup_sender(suite: Suite, public_key: bytes, info: bytes) -> tuple[bytes, SenderContext]:
    """SetupBaseS: encapsulate to a public key and run the key schedule.

    Returns:
        The encapsulated key (Nenc bytes) and the context.

    Raises:
        KeyConfigError: The public key is not valid.
    """
    encapsulate = xwing.encapsulate if suite.kem_id == KEM_XWING else dhkem.encapsulate
    encapsulated_key, shared_secret = encapsulate(public_key)
    context = SenderContext.of(suite, shared_secret, info)
    shared_secret.wipe()
    return encapsulated_key, context


def setup_recipient(
    suite: Suite, private_key: DecapsulationKey, encapsulated_key: bytes, info: bytes
) -> RecipientContext:
    """SetupBaseR: decapsulate and run the key schedule.

    Raises:
        KeyConfigError: The suite names another KEM than the key.
        OpenError: The encapsulated key is not valid.
    """
    if private_key.kem_id != suite.kem_id:
        raise KeyConfigError("the key is of another KEM")
    shared_secret = private_key.decapsulate(encapsulated_key)
    context = RecipientContext.of(suite, shared_secret, info)
    shared_secret.wipe()
    return context
