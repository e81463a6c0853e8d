"""DSSE: bytes, what kind of bytes they are, and signatures over both.

    {"payloadType":"...", "payload":"<base64>", "signatures":[{"keyid":"...", "sig":"<base64>"}]}

The signature is over `pae(payloadType, payload)`, so that bytes signed as one kind are
never read as another (secure-systems-lab/dsse, protocol.md). Nothing is parsed out of the
payload before its signatures hold.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field, replace
from typing import Final

from confide.attest.strict_json import exact_members, read_list, read_object, read_text
from confide.errors import EvidenceError

__all__ = ["MAX_ENVELOPE", "MAX_PAYLOAD", "MAX_SIGNATURES", "Envelope", "Signature", "pae"]

MAX_PAYLOAD: Final = 512 * 1024
MAX_SIGNATURES: Final = 16
MAX_ENVELOPE: Final = 1024 * 1024
_MAX_SIGNATURE: Final = 8192
_MAX_KEY_ID: Final = 128
_MAX_TYPE: Final = 128


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: lengths and contents, so that no boundary can move.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Signature:
    """One signature, not yet checked.

    Attributes:
        key_id: Which key is said to have made it. A hint and nothing more.
        value: At most 8 KiB.
    """

    key_id: str
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class Envelope:
    """Signed bytes, not yet checked.

    Attributes:
        payload_type: What kind of bytes, at most 128 characters.
        payload: At most 512 KiB.
        signatures: At most 16, each key at most once.
    """

    payload_type: str
    payload: bytes = field(repr=False)
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Envelope:
        """Read an envelope.

        Args:
            raw: At most 1 MiB, untrusted.

        Raises:
            EvidenceError: Malformed, too large, or a key signs twice.
        """
        members = read_object(raw, limit=MAX_ENVELOPE)
        exact_members(members, required=("payloadType", "payload", "signatures"))
        signatures = read_list(
            members["signatures"], "signatures", limit=MAX_SIGNATURES, item=_signature
        )
        if len({one.key_id for one in signatures}) != len(signatures):
            raise EvidenceError("a key signs twice", code="envelope.json")
        return cls(
            payload_type=read_text(members["payloadType"], "payloadType", limit=_MAX_TYPE),
            payload=_base64(members["payload"], "payload", MAX_PAYLOAD),
            signatures=signatures,
        )

    def encode(self) -> bytes:
        """Return the JSON, indented for people, with a line feed at the end."""
        members = {
            "payloadType": self.payload_type,
            "payload": base64.b64encode(self.payload).decode(),
            "signatures": [
                {"keyid": one.key_id, "sig": base64.b64encode(one.value).decode()}
                for one in self.signatures
            ],
        }
        return json.dumps(members, indent=2).encode("ascii") + b"\n"

    def with_signature(self, signature: Signature) -> Envelope:
        """Add a signature, in place of an earlier one of the same key."""
        others = tuple(one for one in self.signatures if one.key_id != signature.key_id)
        return replace(self, signatures=(*others, signature))

    @property
    def signed_bytes(self) -> bytes:
        """What each signature is over."""
        return pae(self.payload_type, self.payload)


def _signature(value: object) -> Signature:
    if not isinstance(value, dict):
        raise EvidenceError("a signature is not an object", code="envelope.json")
    exact_members(value, required=("keyid", "sig"))
    return Signature(
        read_text(value["keyid"], "keyid", limit=_MAX_KEY_ID),
        _base64(value["sig"], "sig", _MAX_SIGNATURE),
    )


def _base64(value: object, name: str, limit: int) -> bytes:
    """Read padded base64 of RFC 4648 section 4, the one form that `encode` writes."""
    text = read_text(value, name, limit=4 * ((limit + 2) // 3))
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EvidenceError(f"{name} is not base64", code="envelope.base64") from None
    if len(decoded) > limit:
        raise EvidenceError(f"{name} is longer than {limit} bytes", code="envelope.size")
    if base64.b64encode(decoded).decode() != text:
        raise EvidenceError(f"{name} is not canonical base64", code="envelope.base64")
    return decoded
