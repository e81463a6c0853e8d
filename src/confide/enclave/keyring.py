"""The enclave's keys: born in memory, rotated, dropped, and never anywhere else.

One X-Wing key pair at a time is offered. After its lifetime a new one replaces it; the old
one still opens requests for a grace, for clients that have not looked again, and is then
dropped. HPKE base mode has no forward secrecy against theft of a live key, so lifetime
plus grace is the exposure. The usage key (Ed25519) lives as long as the process.

Each key pair comes with the key document that announces it. A document names the digest of
the one before it and the boot, so that a watcher sees every change of key.

No method returns private bytes. Keys come from the library's `generate()`: their seeds
never exist as Python bytes.

The clock belongs to the host. Turned forward, it makes keys change early; turned back by
more than a minute, it makes the ring start afresh and drop every key it had, because the
dates in its documents have become wrong. Stopped, it keeps a key alive, and nothing inside
a guest can see that.

Source: protocol.md sections 1, 3 and 4; RFC 9458 section 3.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.crypto.xwing import PrivateKey
from confide.errors import ConfigError
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument
from confide.wire.suites import XWING_SUITE

__all__ = ["DocumentTerms", "Keyring"]

_KEY_IDS = 256  # one byte, RFC 9458 section 3.1
_CLOCK_SLACK_S = 60
# A client whose clock is behind must not refuse a new key; the date proves no freshness.
_CLOCK_SKEW_S = 60


@dataclass(frozen=True)
class DocumentTerms:
    """What every key document of this enclave says besides its keys and dates.

    Attributes:
        manifest_sha256: SHA-256 of the manifest, 32 bytes.
        authorities: Inner authorities this enclave answers for.
        max_body: Longest request body, in bytes.
        padding_profile: "off", "bucket" or "constant".
        tick_ms: Beat of streamed answers.
        past_s: How old a request may be.
        future_s: How far ahead a client's clock may be.
    """

    manifest_sha256: bytes
    authorities: tuple[str, ...] = ("confide.invalid",)
    max_body: int = 32 * 1024 * 1024
    padding_profile: str = "bucket"
    tick_ms: int = 100
    past_s: int = 120
    future_s: int = 60


@dataclass(frozen=True, repr=False)
class _LiveKey:
    key_id: int
    private_key: PrivateKey
    born: int
    document: KeyDocument


class Keyring:
    """The only holder of the enclave's private keys. Belongs to one event loop.

    Args:
        terms: What the key documents say.
        now: Unix time in seconds.
        lifetime_s: Age at which a new key replaces the current one.
        grace_s: How long a replaced key still opens requests; at most the lifetime, so that
            no more than two keys live at one time.

    Raises:
        ConfigError: The grace is longer than the lifetime.
    """

    def __init__(
        self, terms: DocumentTerms, now: Callable[[], float], *, lifetime_s: int, grace_s: int
    ) -> None:
        if grace_s > lifetime_s:
            raise ConfigError("the grace of a key must not be longer than its lifetime")
        self._terms = terms
        self._now = now
        self._lifetime_s = lifetime_s
        self._grace_s = grace_s
        self._boot_id = secrets.token_hex(16)
        self._usage_key = Ed25519PrivateKey.generate()
        self._live: list[_LiveKey] = []  # newest first
        self._previous_sha256: str | None = None
        self._add_key()

    def __repr__(self) -> str:
        return f"Keyring({len(self._live)} live keys)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a keyring stays in the process it was born in")

    @property
    def boot_id(self) -> str:
        """32 hex characters, new at every start."""
        return self._boot_id

    @property
    def usage_public_key(self) -> bytes:
        """The Ed25519 key that usage statements verify under, 32 bytes."""
        return self._usage_key.public_key().public_bytes_raw()

    def sign_usage(self, message: bytes) -> bytes:
        """Sign one usage statement; 64 bytes."""
        return self._usage_key.sign(message)

    @property
    def current(self) -> KeyDocument:
        """The document to serve."""
        self.rotate_if_due()
        return self._live[0].document

    @property
    def live_documents(self) -> tuple[KeyDocument, ...]:
        """Documents whose key still opens requests, newest first."""
        self.rotate_if_due()
        return tuple(key.document for key in self._live)

    @property
    def key_age_s(self) -> float:
        """Age of the current key."""
        return max(0.0, self._now() - self._live[0].born)

    def find_key(self, key_id: int) -> PrivateKey | None:
        """Return the live private key with this id, or None."""
        self.rotate_if_due()
        return next((key.private_key for key in self._live if key.key_id == key_id), None)

    def find_document(self, sha256_hex: str) -> KeyDocument | None:
        """Return the live document with this digest (64 hex characters), or None."""
        self.rotate_if_due()
        return next(
            (key.document for key in self._live if key.document.sha256_hex == sha256_hex), None
        )

    def rotate_if_due(self) -> bool:
        """Replace and drop keys as the clock says; True if the current document changed."""
        now = self._now()
        newest = self._live[0]
        if now < newest.born - _CLOCK_SLACK_S:
            self._live.clear()
        self._live = [
            key for key in self._live if now < key.born + self._lifetime_s + self._grace_s
        ]
        if self._live and now < newest.born + self._lifetime_s:
            return False
        self._add_key()
        return True

    def _add_key(self) -> None:
        taken = {key.key_id for key in self._live}
        key_id = secrets.choice([number for number in range(_KEY_IDS) if number not in taken])
        private_key = PrivateKey.generate()
        born = int(self._now())
        document = self._document(key_id, private_key, born)
        self._live.insert(0, _LiveKey(key_id, private_key, born, document))
        self._previous_sha256 = document.sha256_hex

    def _document(self, key_id: int, private_key: PrivateKey, born: int) -> KeyDocument:
        older = [config for key in self._live for config in key.document.key_configs[:1]]
        return KeyDocument.build(
            key_configs=(_key_config(key_id, private_key), *older),
            not_before=born - _CLOCK_SKEW_S,
            not_after=born + self._lifetime_s,
            manifest_sha256=self._terms.manifest_sha256.hex(),
            boot_id=self._boot_id,
            usage_key=self.usage_public_key,
            previous_sha256=self._previous_sha256,
            max_body=self._terms.max_body,
            padding_profile=self._terms.padding_profile,
            tick_ms=self._terms.tick_ms,
            past_s=self._terms.past_s,
            future_s=self._terms.future_s,
            authorities=self._terms.authorities,
        )


def _key_config(key_id: int, private_key: PrivateKey) -> KeyConfig:
    suite = XWING_SUITE
    return KeyConfig(key_id, suite.kem_id, private_key.public_key, ((suite.kdf_id, suite.aead_id),))
