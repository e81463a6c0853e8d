"""The evidence envelope: what an enclave says about itself, not yet believed.

Media type application/vnd.confide.evidence+json. Two kinds that cannot be confused:
``hardware`` has a `cpu` member and no `simulated`; ``software-dev`` the reverse.
`collected_at` and all of `collateral` are advice of an untrusted sender: nothing is
accepted because of them alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from confide.attest.binding import NONCE_LENGTH
from confide.attest.strict_json import (
    exact_members,
    read_base64url,
    read_hex,
    read_integer,
    read_list,
    read_object,
    read_text,
)
from confide.errors import EvidenceError
from confide.wire.strict_json import b64url

__all__ = [
    "MAX_ENVELOPE",
    "CpuReport",
    "Evidence",
    "EvidenceKind",
    "GpuReport",
    "SimulatedSignature",
]

MAX_ENVELOPE = 512 * 1024
_VERSION = 1
_MAX_DOCUMENT = 64 * 1024
_MAX_REPORT = 64 * 1024
_MAX_AUX = 256 * 1024
_MAX_AUX_PARTS = 8
_MAX_GPUS = 16
_MAX_CHAIN = 64 * 1024
_MAX_NAME = 64


class EvidenceKind(StrEnum):
    """Who signed: a processor, or a program that only pretends."""

    HARDWARE = "hardware"
    SOFTWARE_DEV = "software-dev"


@dataclass(frozen=True)
class CpuReport:
    """The report of a processor.

    Attributes:
        type: Platform, such as "sev-snp".
        report: The report as the processor gave it, at most 64 KiB.
        aux: Further parts by name (event log and the like), each at most 256 KiB.
    """

    type: str
    report: bytes = field(repr=False)
    aux: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class GpuReport:
    """The report of one GPU.

    Attributes:
        type: Platform, such as "nvidia-spdm".
        report: The report as the GPU gave it, at most 64 KiB.
        chain: PEM certificates, at most 64 KiB of text.
    """

    type: str
    report: bytes = field(repr=False)
    chain: str = field(default="", repr=False)


@dataclass(frozen=True)
class SimulatedSignature:
    """INSECURE. The signature of a program, never of a processor.

    Attributes:
        public_key: Ed25519 public key, 32 bytes.
        signature: Ed25519 signature, 64 bytes.
    """

    public_key: bytes
    signature: bytes = field(repr=False)


@dataclass(frozen=True)
class Evidence:
    """One parsed envelope. Well-formed, and nothing more than that.

    Attributes:
        kind: `hardware` or `software-dev`.
        document: The key document exactly as served, at most 64 KiB.
        client_nonce: 32 bytes, or empty in the cached form.
        manifest_sha256: 32 bytes.
        cpu: Present exactly when the kind is `hardware`.
        gpus: At most 16; `hardware` only.
        collateral: Untrusted transport of vendor-signed data.
        release: Untrusted transport of transparency data.
        collected_at: Unix seconds, advisory.
        simulated: Present exactly when the kind is `software-dev`.
    """

    kind: EvidenceKind
    document: bytes = field(repr=False)
    client_nonce: bytes = field(repr=False)
    manifest_sha256: bytes
    collected_at: int
    cpu: CpuReport | None = None
    gpus: tuple[GpuReport, ...] = ()
    collateral: Mapping[str, object] = field(default_factory=dict, repr=False)
    release: Mapping[str, object] = field(default_factory=dict, repr=False)
    simulated: SimulatedSignature | None = None

    def __post_init__(self) -> None:
        hardware = self.kind is EvidenceKind.HARDWARE
        if hardware != (self.cpu is not None) or hardware == (self.simulated is not None):
            raise EvidenceError("the members do not fit the kind", code="envelope.kind")
        if self.gpus and not hardware:
            raise EvidenceError("simulated evidence holds no GPU report", code="envelope.kind")

    @classmethod
    def parse(cls, raw: bytes) -> Evidence:
        """Read an envelope from a hostile sender.

        Args:
            raw: At most 512 KiB; the size is checked first.

        Raises:
            EvidenceError: envelope.size, .json, .duplicate_key, .version, .kind, .type
                or .base64. No other exception.
        """
        members = read_object(raw, limit=MAX_ENVELOPE)
        if read_integer(members.get("v"), "v") != _VERSION:
            raise EvidenceError("unknown envelope version", code="envelope.version")
        kind = _read_kind(members.get("kind"))
        own = "cpu" if kind is EvidenceKind.HARDWARE else "simulated"
        if {"cpu", "simulated"} & members.keys() != {own}:
            raise EvidenceError(f"{kind} evidence has a member {own}", code="envelope.kind")
        exact_members(
            members,
            required=("v", "kind", "keyset", "client_nonce", "manifest_sha256", own),
            optional=("gpus", "collateral", "release", "collected_at"),
        )
        return cls(
            kind=kind,
            document=read_base64url(members["keyset"], "keyset", limit=_MAX_DOCUMENT),
            client_nonce=_read_nonce(members["client_nonce"]),
            manifest_sha256=read_hex(members["manifest_sha256"], "manifest_sha256", length=32),
            collected_at=read_integer(members.get("collected_at", 0), "collected_at"),
            cpu=_read_cpu(members["cpu"]) if own == "cpu" else None,
            gpus=read_list(members.get("gpus", []), "gpus", limit=_MAX_GPUS, item=_read_gpu),
            collateral=_read_mapping(members.get("collateral", {}), "collateral"),
            release=_read_mapping(members.get("release", {}), "release"),
            simulated=_read_simulated(members["simulated"]) if own == "simulated" else None,
        )

    def encode(self) -> bytes:
        """Write the envelope; `parse` reads it back to an equal value."""
        members: dict[str, object] = {
            "v": _VERSION,
            "kind": str(self.kind),
            "keyset": b64url(self.document),
            "client_nonce": b64url(self.client_nonce),
            "manifest_sha256": self.manifest_sha256.hex(),
            "gpus": [
                {"type": gpu.type, "report": b64url(gpu.report), "chain": gpu.chain}
                for gpu in self.gpus
            ],
            "collateral": dict(self.collateral),
            "collected_at": self.collected_at,
        }
        if self.release:
            members["release"] = dict(self.release)
        if self.cpu is not None:
            members["cpu"] = {
                "type": self.cpu.type,
                "report": b64url(self.cpu.report),
                "aux": {name: b64url(part) for name, part in self.cpu.aux.items()},
            }
        if self.simulated is not None:
            members["simulated"] = {
                "public_key": b64url(self.simulated.public_key),
                "signature": b64url(self.simulated.signature),
            }
        return json.dumps(members, separators=(",", ":")).encode("ascii")


def _read_kind(value: object) -> EvidenceKind:
    try:
        return EvidenceKind(read_text(value, "kind", limit=_MAX_NAME))
    except ValueError:
        raise EvidenceError("unknown kind of evidence", code="envelope.kind") from None


def _read_nonce(value: object) -> bytes:
    nonce = read_base64url(value, "client_nonce", limit=NONCE_LENGTH)
    if len(nonce) not in (0, NONCE_LENGTH):
        raise EvidenceError("client_nonce is neither 32 bytes nor empty", code="envelope.size")
    return nonce


def _read_mapping(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise EvidenceError(f"{name} is not an object", code="envelope.json")
    return MappingProxyType(value)


def _read_type(members: Mapping[str, object]) -> str:
    """Return the platform name; whether it is known is decided by the verifier."""
    name = read_text(members["type"], "type", limit=_MAX_NAME)
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
        raise EvidenceError("type is not a platform name", code="envelope.type")
    return name


def _read_cpu(value: object) -> CpuReport:
    members = _read_mapping(value, "cpu")
    exact_members(members, required=("type", "report"), optional=("aux",))
    aux = _read_mapping(members.get("aux", {}), "aux")
    if len(aux) > _MAX_AUX_PARTS:
        raise EvidenceError("too many parts in aux", code="envelope.size")
    return CpuReport(
        type=_read_type(members),
        report=read_base64url(members["report"], "report", limit=_MAX_REPORT),
        aux=MappingProxyType(
            {name: read_base64url(part, "aux", limit=_MAX_AUX) for name, part in aux.items()}
        ),
    )


def _read_gpu(value: object) -> GpuReport:
    members = _read_mapping(value, "gpu")
    exact_members(members, required=("type", "report"), optional=("chain",))
    return GpuReport(
        type=_read_type(members),
        report=read_base64url(members["report"], "report", limit=_MAX_REPORT),
        chain=read_text(members.get("chain", ""), "chain", limit=_MAX_CHAIN),
    )


def _read_simulated(value: object) -> SimulatedSignature:
    members = _read_mapping(value, "simulated")
    exact_members(members, required=("public_key", "signature"))
    return SimulatedSignature(
        public_key=read_base64url(members["public_key"], "public_key", limit=32, length=32),
        signature=read_base64url(members["signature"], "signature", limit=64, length=64),
    )
