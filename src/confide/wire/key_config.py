"""Key configurations of Oblivious HTTP (RFC 9458 section 3).

A `KeyConfig` is public: a key id of one byte, the KEM, the public key and the
symmetric suites the enclave accepts with it. Lists are served as
`application/ohttp-keys`: each configuration with a two-byte length before it.

Whether the public key is a good one is checked where ciphers are allowed:
`confide.sealing.exchange.check_key_config`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from confide.errors import KeyConfigError
from confide.wire.suites import XWING_SUITE, Suite, kem_lengths, suite_for

__all__ = ["MAX_KEY_CONFIGS", "KeyConfig", "encode_key_configs", "parse_key_configs"]

MAX_KEY_CONFIGS = 16
_HEADER = struct.Struct(">BH")
_U16 = struct.Struct(">H")
_PAIR = struct.Struct(">HH")


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """One public key and what may be done with it.

    Attributes:
        key_id: 0..255, distinct among the live replicas of a deployment.
        kem_id: HPKE KEM identifier.
        public_key: Npk bytes (1216 for X-Wing).
        symmetric_suites: Pairs (KDF identifier, AEAD identifier), at least one.
    """

    key_id: int
    kem_id: int
    public_key: bytes
    symmetric_suites: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.key_id <= 0xFF or not 0 <= self.kem_id <= 0xFFFF:
            raise KeyConfigError("key id or KEM id is out of range")
        if len(self.public_key) != kem_lengths(self.kem_id).n_pk:
            raise KeyConfigError("the public key has the wrong length for its KEM")
        if not self.symmetric_suites:
            raise KeyConfigError("the key configuration has no symmetric suite")

    def encode(self) -> bytes:
        """Encode as in RFC 9458 section 3.1, without a length before it."""
        suites = b"".join(_PAIR.pack(*pair) for pair in self.symmetric_suites)
        return b"".join(
            (
                _HEADER.pack(self.key_id, self.kem_id),
                self.public_key,
                _U16.pack(len(suites)),
                suites,
            )
        )

    @classmethod
    def parse(cls, encoded: bytes) -> KeyConfig:
        """Decode one configuration; every byte must be used.

        Raises:
            KeyConfigError: Unknown KEM, wrong length, no suite, or bytes left over.
        """
        if len(encoded) < _HEADER.size:
            raise KeyConfigError("the key configuration is cut short")
        key_id, kem_id = _HEADER.unpack_from(encoded)
        end = _HEADER.size + kem_lengths(kem_id).n_pk
        if len(encoded) < end + _U16.size:
            raise KeyConfigError("the key configuration is cut short")
        (length,) = _U16.unpack_from(encoded, end)
        suites = encoded[end + _U16.size :]
        if len(suites) != length or length % _PAIR.size or not length:
            raise KeyConfigError("the list of symmetric suites has the wrong length")
        pairs = tuple((int(kdf), int(aead)) for kdf, aead in _PAIR.iter_unpack(suites))
        return cls(key_id, kem_id, encoded[_HEADER.size : end], pairs)

    def choose_suite(self) -> Suite:
        """Return the one suite the product seals with, if this key allows it.

        Raises:
            KeyConfigError: The key does not offer it. There is no fallback.
        """
        offered = (XWING_SUITE.kdf_id, XWING_SUITE.aead_id)
        if self.kem_id != XWING_SUITE.kem_id or offered not in self.symmetric_suites:
            raise KeyConfigError("the key configuration does not offer the suite of this client")
        return XWING_SUITE

    def suite(self, kdf_id: int, aead_id: int) -> Suite:
        """Return the suite a request named, if this key lists it.

        Raises:
            KeyConfigError: The key does not list the pair.
        """
        if (kdf_id, aead_id) not in self.symmetric_suites:
            raise KeyConfigError("the key configuration does not list this suite")
        return suite_for(self.kem_id, kdf_id, aead_id)


def encode_key_configs(key_configs: Iterable[KeyConfig]) -> bytes:
    """Encode a list as `application/ohttp-keys` (RFC 9458 section 3.2)."""
    encoded = [key_config.encode() for key_config in key_configs]
    return b"".join(_U16.pack(len(one)) + one for one in encoded)


def parse_key_configs(encoded: bytes) -> tuple[KeyConfig, ...]:
    """Decode `application/ohttp-keys`, newest first as served.

    Raises:
        KeyConfigError: Empty, cut short, more than 16 entries, a repeated key id, or
            an entry that is not valid.
    """
    key_configs: list[KeyConfig] = []
    offset = 0
    while offset < len(encoded):
        if offset + _U16.size > len(encoded):
            raise KeyConfigError("the list of key configurations is cut short")
        (length,) = _U16.unpack_from(encoded, offset)
        offset += _U16.size
        if offset + length > len(encoded) or len(key_configs) == MAX_KEY_CONFIGS:
            raise KeyConfigError("the list of key configurations is cut short or too long")
        key_configs.append(KeyConfig.parse(encoded[offset : offset + length]))
        offset += length
    if not key_configs or len({one.key_id for one in key_configs}) != len(key_configs):
        raise KeyConfigError("the list of key configurations is empty or repeats a key id")
    return tuple(key_configs)
