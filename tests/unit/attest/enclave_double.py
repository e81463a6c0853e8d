"""A hardware platform that exists in tests only, and an enclave that uses it.

The report is real cryptography under a test root: JSON claims and an Ed25519 signature.
Nothing in the shipped package knows this type.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.attest import binding
from confide.attest.endorsements import EndorsementKey, first_valid
from confide.attest.evidence import CpuReport, Evidence, EvidenceKind, GpuReport
from confide.attest.factors import FactorSpec, Owner
from confide.attest.platform import Authenticated, Processor
from confide.attest.policy import (
    AllOf,
    AppraisalPolicy,
    MeasurementIn,
    MinimumTcb,
    NotDebuggable,
    TcbFloor,
)
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.errors import EndorsementError
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument
from confide.wire.strict_json import b64url

CPU, GPU = "test-cpu", "test-gpu"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
START = int(NOW.timestamp())
NONCE = bytes(range(32))
MANIFEST = b'{"v":1,"models":[]}'
MANIFEST_SHA256 = hashlib.sha256(MANIFEST).digest()
MEASUREMENT = bytes(range(48))
ROOT = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)


def key_document(**changes) -> bytes:
    values = {
        "key_configs": [KeyConfig(1, 0x647A, bytes(range(1, 256)) * 4 + bytes(196), ((1, 2),))],
        "not_before": START - 60,
        "not_after": START + 86_400,
        "manifest_sha256": MANIFEST_SHA256.hex(),
        "boot_id": "5a" * 16,
        "usage_key": bytes(32),
    }
    return KeyDocument.build(**(values | changes)).raw


DOCUMENT = key_document()


def signed(root: Ed25519PrivateKey, members: dict) -> bytes:
    body = json.dumps(members).encode()
    return root.sign(body) + body


class TestPlatform:
    """Checks reports of the double. Collateral "test/list" must be stapled."""

    __test__ = False

    def __init__(self, platform: str = CPU, expires_at: datetime | None = None) -> None:
        self.type = platform
        self.processor = Processor.GPU if platform == GPU else Processor.CPU
        self.factors = (FactorSpec(f"{platform} list", Owner.CHIP_VENDOR),)
        self.expires_at = expires_at or NOW + timedelta(days=30)
        self.calls = 0

    def authenticate(self, report, *, aux, endorsements, sheet, at):
        self.calls += 1
        with sheet.step(f"{self.type} list", "found"):
            first_valid(endorsements, EndorsementKey("test/list"), lambda found: found.content)
        try:
            ROOT.public_key().verify(report[:64], report[64:])
        except InvalidSignature:
            raise EndorsementError("not signed", code="test.report_signature") from None
        members = json.loads(report[64:])
        claims = dict(members["claims"])
        if "measurement" in claims:
            claims["measurement"] = bytes.fromhex(claims["measurement"])
        return Authenticated(claims, bytes.fromhex(members["report_data"]), self.expires_at, "test")


PLATFORMS = {CPU: TestPlatform(CPU), GPU: TestPlatform(GPU)}


@dataclass(frozen=True)
class Enclave:
    """Makes genuine test evidence; `replace` one attribute to make it wrong in one way."""

    document: bytes = DOCUMENT
    nonce: bytes = NONCE
    manifest_sha256: bytes = MANIFEST_SHA256
    root: Ed25519PrivateKey = ROOT
    gpu_count: int = 0
    platform: str = CPU
    claims: dict = field(
        default_factory=lambda: {
            "measurement": MEASUREMENT.hex(),
            "debuggable": False,
            "product": "Testa",
            "tcb": {"microcode": 5},
        }
    )
    gpu_claims: dict = field(
        default_factory=lambda: {"confidential": True, "developer_tools": False}
    )

    def without(self, claim: str) -> Enclave:
        return replace(self, claims={k: v for k, v in self.claims.items() if k != claim})

    def claiming(self, **claims) -> Enclave:
        return replace(self, claims=self.claims | claims)

    def gpus(self) -> tuple[GpuReport, ...]:
        nonce = binding.gpu_nonce(hashlib.sha256(self.document).digest(), self.nonce)
        return tuple(
            GpuReport(
                GPU,
                signed(
                    self.root,
                    {"claims": {"device": n, **self.gpu_claims}, "report_data": nonce.hex()},
                ),
            )
            for n in range(self.gpu_count)
        )

    def evidence(self) -> Evidence:
        gpus = self.gpus()
        bound = binding.report_data(
            hashlib.sha256(self.document).digest(),
            self.nonce,
            binding.gpu_digest([gpu.report for gpu in gpus]),
            self.manifest_sha256,
        )
        return Evidence(
            kind=EvidenceKind.HARDWARE,
            document=self.document,
            client_nonce=self.nonce,
            manifest_sha256=self.manifest_sha256,
            collected_at=START,
            cpu=CpuReport(
                self.platform,
                signed(self.root, {"claims": self.claims, "report_data": bound.hex()}),
            ),
            gpus=gpus,
            collateral={"test": {"list": b64url(b"list")}},
        )

    def collect(self) -> bytes:
        return self.evidence().encode()


REFERENCE = ReferenceValues(
    "release-1",
    NOW + timedelta(days=90),
    (ReferenceValue("release-1", CPU, MEASUREMENT, MANIFEST_SHA256),),
)
FLOOR = TcbFloor(CPU, "Testa", {"microcode": 5})


def policy(*more, not_after=NOW + timedelta(days=60), reference=REFERENCE) -> AppraisalPolicy:
    return AppraisalPolicy(
        AllOf(MeasurementIn(reference), MinimumTcb((FLOOR,)), NotDebuggable(), *more),
        name="test policy",
        not_after=not_after,
    )
