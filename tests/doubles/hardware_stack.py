"""A gateway in front of enclaves with hardware evidence, as far as a test platform is hardware.

The reports, the lists and their signatures are real cryptography under a test root that no
production verifier knows. The platform wants a signed list that names its issue date, its end
and its number, and tells what it saw, as the platforms of chip vendors do.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
from cryptography.exceptions import InvalidSignature
from tests.doubles.sealed_stack import EPOCH, MANIFEST, EnclaveDouble, Refusal, SealedStack
from tests.unit.attest.enclave_double import (
    CPU,
    FLOOR,
    MEASUREMENT,
    ROOT,
    Enclave,
    TestPlatform,
    signed,
)

from confide.attest.collateral import encode_bundle
from confide.attest.endorsements import CollateralFact, Endorsement, EndorsementKey, first_valid
from confide.attest.platform import Authenticated
from confide.attest.policy import AllOf, AppraisalPolicy, MeasurementIn, MinimumTcb, NotDebuggable
from confide.attest.reference_values import ReferenceValue, ReferenceValues
from confide.attest.verifier import Verifier
from confide.errors import EndorsementError
from confide.wire.media_types import COLLATERAL

START = datetime.fromtimestamp(EPOCH, UTC)
LIST = EndorsementKey("test/list", "issuer")
MANIFEST_SHA256 = hashlib.sha256(MANIFEST).digest()


def a_list(number: int = 1, *, issued_h: float = -1, until_h: float = 24, root=ROOT) -> Endorsement:
    """A list that the test vendor signed; hours count from the stack's start."""
    members = {
        "number": number,
        "issued_at": int(EPOCH + issued_h * 3600),
        "until": int(EPOCH + until_h * 3600),
    }
    return Endorsement(LIST, signed(root, members), "test")


class ListPlatform(TestPlatform):
    """The test platform, with a list that has a number and dates."""

    __test__ = False

    def authenticate(self, report, *, aux, endorsements, sheet, at):
        self.calls += 1

        def check(candidate):
            try:
                ROOT.public_key().verify(candidate.content[:64], candidate.content[64:])
            except InvalidSignature:
                raise EndorsementError("not signed", code="test.list_signature") from None
            members = json.loads(candidate.content[64:])
            if not members["issued_at"] <= at.timestamp() < members["until"]:
                raise EndorsementError("the list has ended", code="test.list_expired")
            issued_at = datetime.fromtimestamp(members["issued_at"], UTC)
            endorsements.saw(CollateralFact(LIST, issued_at, members["number"]))
            return datetime.fromtimestamp(members["until"], UTC)

        with sheet.step(f"{self.type} list", "found"):
            until = first_valid(endorsements, LIST, check)
        try:
            ROOT.public_key().verify(report[:64], report[64:])
        except InvalidSignature:
            raise EndorsementError("not signed", code="test.report_signature") from None
        members = json.loads(report[64:])
        claims = members["claims"] | {
            "measurement": bytes.fromhex(members["claims"]["measurement"])
        }
        return Authenticated(claims, bytes.fromhex(members["report_data"]), until, "test")


def policy() -> AppraisalPolicy:
    """Accepts the doubles as they are made."""
    reference = ReferenceValues(
        "release-1",
        START + timedelta(days=90),
        (ReferenceValue("release-1", CPU, MEASUREMENT, MANIFEST_SHA256),),
    )
    return AppraisalPolicy(
        AllOf(MeasurementIn(reference), MinimumTcb((FLOOR,)), NotDebuggable()),
        name="test policy",
        not_after=START + timedelta(days=60),
    )


class HardwareEnclave(EnclaveDouble):
    """A replica with genuine test evidence; `make` changes it."""

    def __init__(self, **options) -> None:
        self.make = lambda enclave: enclave
        super().__init__(**options)

    def evidence(self, nonce: bytes) -> bytes:
        enclave = Enclave(document=self.document.raw, nonce=nonce, manifest_sha256=MANIFEST_SHA256)
        return replace(self.make(enclave).evidence(), collateral={}).encode()


class HardwareStack(SealedStack):
    """`SealedStack` with `HardwareEnclave`s.

    Attributes:
        staples: What the gateway hands out as endorsements; None has no such route.
        platform: The platform of `hardware`.
    """

    def __init__(self, *, replicas: int = 1) -> None:
        super().__init__(replicas=0)
        self.enclaves = [
            HardwareEnclave(key_id=n + 1, clock=self.clock, root=self.root) for n in range(replicas)
        ]
        self.staples: list[Endorsement] | bytes | Refusal | None = [a_list()]
        self.platform = ListPlatform(CPU)

    def hardware(self, *sources) -> Verifier:
        return Verifier(policy(), platforms={CPU: self.platform}, endorsements=sources)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/.well-known/confide/collateral" and self.staples is not None:
            self.fetches.append(request.url.path)
            if isinstance(self.staples, Refusal):
                refusal = self.staples
                return httpx2.Response(
                    refusal.status, headers=refusal.headers, content=refusal.body
                )
            staples = self.staples
            body = staples if isinstance(staples, bytes) else encode_bundle(staples)
            return httpx2.Response(200, headers={"content-type": COLLATERAL}, content=body)
        return super().handle(request)
