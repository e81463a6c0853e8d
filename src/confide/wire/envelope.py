"""The clear prefix of a sealed request: header and encapsulated key.

    header = key id (1) || KEM (2) || KDF (2) || AEAD (2)        RFC 9458 section 4.3
    prefix = header || encapsulated key (Nenc)

The gateway reads the prefix to route and to bind its grant to this one request; it
can do nothing else with it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from confide.errors import StreamError
from confide.wire.suites import Suite, kem_lengths, suite_for

__all__ = ["HEADER_LENGTH", "RequestHeader", "envelope_digest", "prefix_length"]

HEADER_LENGTH = 7
_HEADER = struct.Struct(">BHHH")


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """The 7 clear bytes a sealed request starts with; authenticated by the seal."""

    key_id: int
    kem_id: int
    kdf_id: int
    aead_id: int

    @classmethod
    def parse(cls, encoded: bytes) -> RequestHeader:
        """Decode the header.

        Args:
            encoded: Exactly 7 bytes.

        Raises:
            StreamError: Another length.
        """
        if len(encoded) != HEADER_LENGTH:
            raise StreamError("the header of a sealed request is 7 bytes")
        return cls(*_HEADER.unpack(encoded))

    def encode(self) -> bytes:
        """Encode to 7 bytes."""
        return _HEADER.pack(self.key_id, self.kem_id, self.kdf_id, self.aead_id)

    def suite(self) -> Suite:
        """Return the suite the header names.

        Raises:
            KeyConfigError: An identifier is not known.
        """
        return suite_for(self.kem_id, self.kdf_id, self.aead_id)


def prefix_length(header: RequestHeader) -> int:
    """Return 7 + Nenc, the number of clear bytes before the first chunk.

    Raises:
        KeyConfigError: The KEM is not known.
    """
    return HEADER_LENGTH + kem_lengths(header.kem_id).n_enc


def envelope_digest(prefix: bytes) -> bytes:
    """Hash the clear prefix; the grant carries this to bind itself to one request.

    Args:
        prefix: A sealed request, at least its first 7 + Nenc bytes; more is ignored.

    Returns:
        32 bytes, SHA-256.

    Raises:
        StreamError: Fewer bytes than the prefix has.
        KeyConfigError: The KEM is not known.
    """
    length = prefix_length(RequestHeader.parse(bytes(prefix[:HEADER_LENGTH])))
    if len(prefix) < length:
        raise StreamError("the encapsulated key is cut short")
    return hashlib.sha256(prefix[:length]).digest()
