"""Reference values: what an accepted release looks like (RFC 9334 section 8.3).

A release publishes a manifest, signed with Ed25519 and dated. The file is JSON:

    {"v":1, "payload":"<base64url>", "signature":"<base64url, 64 bytes>"}

and the payload, whose bytes are what is signed after a label, is JSON too:

    {"v":1, "name":"confide-0.1.0", "not_before":<unix s>, "not_after":<unix s>,
     "values":[{"name":"...", "platform":"sev-snp", "measurement":"<hex>",
                "manifest_sha256":"<hex>"}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from confide.attest.evidence import EvidenceKind
from confide.attest.results import LATEST, to_unix
from confide.attest.strict_json import (
    exact_members,
    read_base64url,
    read_hex,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.errors import ConfigError, EndorsementError, EvidenceError
from confide.wire.strict_json import b64url

__all__ = ["MAX_MANIFEST", "ReferenceValue", "ReferenceValues", "load_signed", "sign"]

MAX_MANIFEST = 256 * 1024
_LABEL = b"confide/reference-values/v1\0"
_MAX_VALUES = 256
MEASUREMENT_LENGTHS = (32, 48, 64, 240)
"""240: MRTD and RTMR0 to RTMR3 of a TD, 48 bytes each."""


@dataclass(frozen=True)
class ReferenceValue:
    """One accepted workload on one platform.

    Attributes:
        name: For people.
        platform: Such as "sev-snp".
        measurement: 32, 48 or 64 bytes: digest of what is launched; 240 for a TD's five.
        manifest_sha256: 32 bytes: digest of the release-and-model manifest.
        product: Processor the measurement is for, such as "Genoa"; None if it holds on all.
    """

    name: str
    platform: str
    measurement: bytes
    manifest_sha256: bytes
    product: str | None = None

    def __post_init__(self) -> None:
        if self.platform == EvidenceKind.SOFTWARE_DEV or not self.platform:
            raise ConfigError("a reference value names a hardware platform")
        if len(self.measurement) not in MEASUREMENT_LENGTHS:
            raise ConfigError(f"measurement of {self.name!r} is not 32, 48, 64 or 240 bytes")
        if len(self.manifest_sha256) != 32:
            raise ConfigError(f"manifest_sha256 of {self.name!r} is not 32 bytes")


@dataclass(frozen=True)
class ReferenceValues:
    """Accepted workloads, any one of which must match completely.

    Attributes:
        name: Of the release or policy they come from.
        not_after: They accept nothing at or after this instant.
        values: At least one.
    """

    name: str
    not_after: datetime
    values: tuple[ReferenceValue, ...] = field(repr=False)

    def __post_init__(self) -> None:
        to_unix(self.not_after)
        if not self.values:
            raise ConfigError("no reference values: an absent expectation is a refusal")


def sign(
    key: Ed25519PrivateKey,
    *,
    name: str,
    not_before: datetime,
    not_after: datetime,
    values: Iterable[ReferenceValue],
) -> bytes:
    """Write a signed manifest. Run by a release, never by a client."""
    payload = json.dumps(
        {
            "v": 1,
            "name": name,
            "not_before": to_unix(not_before),
            "not_after": to_unix(not_after),
            "values": [
                {
                    "name": value.name,
                    "platform": value.platform,
                    "measurement": value.measurement.hex(),
                    "manifest_sha256": value.manifest_sha256.hex(),
                }
                for value in values
            ],
        },
        separators=(",", ":"),
    ).encode("ascii")
    members = {
        "v": 1,
        "payload": b64url(payload),
        "signature": b64url(key.sign(_LABEL + payload)),
    }
    return json.dumps(members).encode("ascii")


def load_signed(raw: bytes, *, public_key: bytes, at: datetime) -> ReferenceValues:
    """Read a signed manifest; nothing of it is looked at before its signature holds.

    Args:
        raw: At most 256 KiB, untrusted.
        public_key: Ed25519 release key, 32 bytes.
        at: Now.

    Raises:
        EvidenceError: Malformed, unsigned, or with unknown members.
        EndorsementError: Not signed by this key, expired or not yet valid.
        ConfigError: Genuine, but a value is unusable.
    """
    members = read_object(raw, limit=MAX_MANIFEST)
    exact_members(members, required=("v", "payload", "signature"))
    _read_version(members)
    payload = read_base64url(members["payload"], "payload", limit=MAX_MANIFEST)
    signature = read_base64url(members["signature"], "signature", limit=64, length=64)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _LABEL + payload)
    except InvalidSignature:
        raise EndorsementError(
            "the reference values are not signed by the release key", code="reference.signature"
        ) from None
    return _read_payload(read_object(payload, limit=MAX_MANIFEST), to_unix(at))


def _read_version(members: Mapping[str, object]) -> None:
    if read_integer(members["v"], "v") != 1:
        raise EvidenceError("unknown version of reference values", code="envelope.version")


def _read_payload(members: Mapping[str, object], now: int) -> ReferenceValues:
    exact_members(members, required=("v", "name", "not_before", "not_after", "values"))
    _read_version(members)
    not_after = min(read_integer(members["not_after"], "not_after"), LATEST)
    if now >= not_after:
        raise EndorsementError("the reference values ended", code="reference.expired")
    if now < read_integer(members["not_before"], "not_before"):
        raise EndorsementError(
            "the reference values have not begun", code="reference.not_yet_valid"
        )
    return ReferenceValues(
        name=read_text(members["name"], "name", limit=128),
        not_after=datetime.fromtimestamp(not_after, tz=UTC),
        values=read_list(members["values"], "values", limit=_MAX_VALUES, item=_read_value),
    )


def _read_value(value: object) -> ReferenceValue:
    if not isinstance(value, dict):
        raise EvidenceError("a reference value is not an object", code="envelope.json")
    exact_members(value, required=("name", "platform", "measurement", "manifest_sha256"))
    measurement = read_text(value["measurement"], "measurement", limit=128)
    return ReferenceValue(
        name=read_text(value["name"], "name", limit=128),
        platform=read_text(value["platform"], "platform", limit=64),
        measurement=read_hex(measurement, "measurement", length=len(measurement) // 2),
        manifest_sha256=read_hex(value["manifest_sha256"], "manifest_sha256", length=32),
    )
