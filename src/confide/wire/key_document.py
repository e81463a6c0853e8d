"""The key document: what an enclave promises about its keys, hashed as served.

The bytes are JSON, but nobody re-encodes them: the digest of the document is the
SHA-256 of exactly the bytes that were served, and evidence is bound to that digest
(`confide.attest.binding`). Dates in the document come from a clock the host
controls; they prove no freshness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confide.errors import KeyConfigError
from confide.wire import strict_json
from confide.wire.key_config import KeyConfig, encode_key_configs, parse_key_configs
from confide.wire.media_types import PROTOCOL
from confide.wire.strict_json import MalformedJSON, boolean_free_int, hex_text

__all__ = ["MAX_DOCUMENT", "PADDING_PROFILES", "KeyDocument"]

MAX_DOCUMENT = 64 * 1024
PADDING_PROFILES = ("off", "bucket", "constant")
_MEMBERS = frozenset(
    {
        "v",
        "protocol",
        "ohttp_keys",
        "suites",
        "not_before",
        "not_after",
        "max_chunk",
        "max_body",
        "padding",
        "replay_window",
        "manifest_sha256",
        "boot_id",
        "previous_sha256",
        "usage_key",
        "authorities",
    }
)
_MAX_TIME = 1 << 40


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """One key document, parsed, together with its bytes.

    Attributes:
        key_configs: Keys of this enclave, newest first.
        suites: Triples (KEM, KDF, AEAD) the enclave opens.
        not_before: Unix seconds; not a proof of freshness.
        not_after: Unix seconds; the client stops sealing to these keys then.
        max_chunk: Plaintext bytes the enclave accepts per chunk.
        max_body: Bytes of inner body the enclave accepts.
        padding_profile: "off", "bucket" or "constant".
        tick_ms: Milliseconds over which answers are coalesced.
        past_s: Oldest inner Date accepted, seconds before the enclave's clock.
        future_s: Newest inner Date accepted, seconds after the enclave's clock.
        manifest_sha256: Hex digest of the release and model manifest.
        boot_id: 32 hex characters, new at every start of the enclave.
        previous_sha256: Hex digest of the document before this one, or None.
        usage_key: 32-byte Ed25519 key that signs usage statements.
        authorities: Inner authorities the enclave answers for.
        raw: The document exactly as served.
        sha256: 32-byte digest of `raw`.
    """

    key_configs: tuple[KeyConfig, ...]
    suites: tuple[tuple[int, int, int], ...]
    not_before: int
    not_after: int
    max_chunk: int
    max_body: int
    padding_profile: str
    tick_ms: int
    past_s: int
    future_s: int
    manifest_sha256: str
    boot_id: str
    previous_sha256: str | None
    usage_key: bytes
    authorities: tuple[str, ...]
    raw: bytes = field(repr=False)
    sha256: bytes = field(repr=False)

    @property
    def sha256_hex(self) -> str:
        """The digest as the header `confide-document` carries it: 64 hex characters."""
        return self.sha256.hex()

    @classmethod
    def build(
        cls,
        *,
        key_configs: Iterable[KeyConfig],
        not_before: int,
        not_after: int,
        manifest_sha256: str,
        boot_id: str,
        usage_key: bytes,
        previous_sha256: str | None = None,
        max_chunk: int = 16384,
        max_body: int = 33554432,
        padding_profile: str = "bucket",
        tick_ms: int = 100,
        past_s: int = 120,
        future_s: int = 60,
        authorities: Iterable[str] = ("confide.invalid",),
    ) -> KeyDocument:
        """Write a document and read it back, so that what is served also parses.

        Raises:
            KeyConfigError: A value is out of range.
        """
        configs = tuple(key_configs)
        suites = sorted(
            {(c.kem_id, kdf, aead) for c in configs for kdf, aead in c.symmetric_suites}
        )
        members = {
            "v": 1,
            "protocol": PROTOCOL,
            "ohttp_keys": strict_json.b64url(encode_key_configs(configs)),
            "suites": suites,
            "not_before": not_before,
            "not_after": not_after,
            "max_chunk": max_chunk,
            "max_body": max_body,
            "padding": {"profile": padding_profile, "tick_ms": tick_ms},
            "replay_window": {"past_s": past_s, "future_s": future_s},
            "manifest_sha256": manifest_sha256,
            "boot_id": boot_id,
            "previous_sha256": previous_sha256,
            "usage_key": strict_json.b64url(usage_key),
            "authorities": list(authorities),
        }
        return cls.parse(strict_json.canonical(members))

    @classmethod
    def parse(cls, raw: bytes) -> KeyDocument:
        """Read a document as served.

        Args:
            raw: At most 64 KiB of JSON.

        Raises:
            KeyConfigError: Too large, not this version, a missing, unknown or repeated
                member, or a value out of range.
        """
        try:
            members = strict_json.object_of(raw, max_bytes=MAX_DOCUMENT)
            strict_json.only_members(members, _MEMBERS, where="key document")
            return cls._from_members(members, raw)
        except MalformedJSON as error:
            raise KeyConfigError(f"the key document is not usable: {error}") from None

    @classmethod
    def _from_members(cls, members: Mapping[str, Any], raw: bytes) -> KeyDocument:
        if type(members["v"]) is not int or members["v"] != 1 or members["protocol"] != PROTOCOL:
            raise MalformedJSON("another version of the protocol")
        key_configs = parse_key_configs(strict_json.b64url_bytes(members["ohttp_keys"], "keys"))
        not_before = boolean_free_int(members["not_before"], "not_before", low=0, high=_MAX_TIME)
        not_after = boolean_free_int(
            members["not_after"], "not_after", low=not_before + 1, high=_MAX_TIME
        )
        padding_profile, tick_ms = _padding(members["padding"])
        past_s, future_s = _replay_window(members["replay_window"])
        previous = members["previous_sha256"]
        return cls(
            key_configs=key_configs,
            suites=_suites(members["suites"], key_configs),
            not_before=not_before,
            not_after=not_after,
            max_chunk=boolean_free_int(members["max_chunk"], "max_chunk", low=1, high=16384),
            max_body=boolean_free_int(members["max_body"], "max_body", low=1, high=1 << 40),
            padding_profile=padding_profile,
            tick_ms=tick_ms,
            past_s=past_s,
            future_s=future_s,
            manifest_sha256=hex_text(members["manifest_sha256"], "manifest_sha256", length=32),
            boot_id=hex_text(members["boot_id"], "boot_id", length=16),
            previous_sha256=(
                None if previous is None else hex_text(previous, "previous_sha256", length=32)
            ),
            usage_key=strict_json.b64url_bytes(members["usage_key"], "usage_key", length=32),
            authorities=_authorities(members["authorities"]),
            raw=raw,
            sha256=hashlib.sha256(raw).digest(),
        )


def _members(value: object, names: frozenset[str], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedJSON(f"{where} is not an object")
    strict_json.only_members(value, names, where=where)
    return value


def _padding(value: object) -> tuple[str, int]:
    members = _members(value, frozenset({"profile", "tick_ms"}), "padding")
    if members["profile"] not in PADDING_PROFILES:
        raise MalformedJSON("unknown padding profile")
    return members["profile"], boolean_free_int(members["tick_ms"], "tick_ms", low=0, high=60000)


def _replay_window(value: object) -> tuple[int, int]:
    members = _members(value, frozenset({"past_s", "future_s"}), "replay_window")
    return (
        boolean_free_int(members["past_s"], "past_s", low=1, high=86400),
        boolean_free_int(members["future_s"], "future_s", low=0, high=86400),
    )


def _suites(value: object, key_configs: tuple[KeyConfig, ...]) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(value, list):
        raise MalformedJSON("suites is not a list")
    suites: list[tuple[int, int, int]] = []
    for one in value:
        if not isinstance(one, list) or len(one) != 3:
            raise MalformedJSON("a suite is not three numbers")
        kem, kdf, aead = (boolean_free_int(n, "suite", low=0, high=0xFFFF) for n in one)
        suites.append((kem, kdf, aead))
    keys = {(c.kem_id, kdf, aead) for c in key_configs for kdf, aead in c.symmetric_suites}
    if set(suites) != keys or len(suites) != len(keys):
        raise MalformedJSON("suites and key configurations disagree")
    return tuple(suites)


def _authorities(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= 16:
        raise MalformedJSON("authorities is not a short list")
    return tuple(strict_json.text(one, "authority") for one in value)
