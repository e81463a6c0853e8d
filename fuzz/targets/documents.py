"""What is not of one vendor: envelope, bundles, policy file, releases, statements."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache

from tests.unit.attest import enclave_double as double
from tests.unit.attest.releases import publisher

from confide.attest.checks import parse_document
from confide.attest.collateral.bundle import encode_bundle, read_bundle
from confide.attest.endorsements import Endorsement, EndorsementKey, StapledEndorsements
from confide.attest.evidence import CpuReport, Evidence, EvidenceKind
from confide.attest.gpu_statement import read_gpu_statement
from confide.attest.policy_defaults import NVIDIA_TABLE, policy_text
from confide.attest.policy_file import load_policy
from confide.attest.releases.dsse import Envelope
from confide.attest.releases.keys import PublicKey, ReleaseKeys
from confide.attest.releases.manifest import RELEASE_TYPE, read_release
from confide.attest.sigstore_bundle import WorkflowIdentity, verify_artifact
from confide.attest.strict_json import read_object
from confide.attest.verifier import Verifier
from confide.cli.attest_bundle import Bundle, Fetched
from confide.errors import AttestationError, ConfigError
from confide.wire.strict_json import b64url
from fuzz.oracle import Target
from fuzz.vectors import read, read_json

_AT = double.NOW
_PACKAGE = "confide.attest"
_BOTH = (AttestationError, ConfigError)
_STATEMENT = {
    "confidential": True,
    "count": 1,
    "developer_tools": False,
    "environment": "production",
    "mode": "SPT",
}


@cache
def _envelope() -> bytes:
    """Recorded SNP evidence in an envelope that is about this test's document and nonce."""
    evidence = double.Enclave().evidence()
    collateral = {
        "vek": b64url(read("snp/milan-v2/vcek.der")),
        "chain": b64url(read("snp/roots/milan.pem")),
    }
    return Evidence(
        kind=EvidenceKind.HARDWARE,
        document=evidence.document,
        client_nonce=evidence.client_nonce,
        manifest_sha256=evidence.manifest_sha256,
        collected_at=evidence.collected_at,
        cpu=CpuReport("sev-snp", read("snp/milan-v2/report.bin"), {"eventlog": b"x"}),
        collateral={"snp": collateral},
    ).encode()


def _verify(raw: bytes) -> object:
    return Verifier(double.policy()).verify(
        raw,
        document=double.DOCUMENT,
        manifest=double.MANIFEST,
        nonce=double.NONCE,
        at=_AT,
    )


def _staples(raw: bytes) -> object:
    source = StapledEndorsements(read_object(raw, limit=512 * 1024))
    return [source.find(EndorsementKey(f"{group}/vek")) for group in ("snp", "tdx")]


def _payload(raw: bytes) -> object:
    """Sign whatever comes, so that what follows the signature is reached."""
    envelope = publisher.signed(Envelope(RELEASE_TYPE, raw, ()), publisher.ALICE, publisher.BOB)
    return read_release(envelope, keys=publisher.KEYS, at=_AT)


def _sigstore(raw: bytes) -> object:
    artifact = read("sigstore/artifact.whl")
    identity = WorkflowIdentity(
        "trailofbits/rfc8785.py", ".github/workflows/release.yml", "refs/tags/v0.1.2"
    )
    return verify_artifact(raw, artifact=artifact, identity=identity)


def _sigstore_bundle() -> bytes:
    """The recorded bundle in the layout of version 0.3; the layout is not signed."""
    members = read_json("sigstore/artifact.whl.sigstore.json")
    material = members["verificationMaterial"]
    (material["certificate"],) = material.pop("x509CertificateChain")["certificates"]
    members["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return json.dumps(members).encode()


def _policy() -> bytes:
    text = policy_text([publisher.WORKLOAD], name="fuzz", not_after=_AT + timedelta(days=30))
    golden = (
        '[[nvidia.golden]]\ndriver = "550.90.07"\nvbios = "96.00.9F.00.01"\n'
        f'measurements = {{ "0" = ["{"00" * 48}"] }}\n'
    )
    return (text + NVIDIA_TABLE + golden).encode()


def targets() -> list[Target]:
    """Return the targets that no platform owns."""
    endorsement = Endorsement(EndorsementKey("snp/vek", "Milan/00/00"), b"content", "fuzz")
    fetched = Fetched(document=double.DOCUMENT, evidence=_envelope(), manifest=double.MANIFEST)
    bundle = Bundle("https://gateway.example", double.NONCE, _AT, (fetched,))
    release = publisher.release()
    return [
        Target(
            "envelope",
            Evidence.parse,
            (_envelope(), double.Enclave(gpu_count=2).collect()),
            (f"{_PACKAGE}.evidence:Evidence.parse",),
        ),
        Target(
            "verifier",
            _verify,
            (_envelope(), double.Enclave().collect()),
            (f"{_PACKAGE}.verifier:Verifier.verify",),
            accepts="binding.report_data",
        ),
        Target(
            "key-document",
            parse_document,
            (double.DOCUMENT,),
            (f"{_PACKAGE}.checks:parse_document",),
        ),
        Target(
            "gpu-statement",
            read_gpu_statement,
            (json.dumps({"v": 1, "gpus": _STATEMENT}).encode(), double.MANIFEST),
            (f"{_PACKAGE}.gpu_statement:read_gpu_statement",),
        ),
        Target(
            "staples",
            _staples,
            (json.dumps({"snp": {"vek": ["AAAA"], "chain": "AAAA"}}).encode(),),
            (f"{_PACKAGE}.strict_json:read_object",),
        ),
        Target(
            "endorsement-bundle",
            lambda raw: read_bundle(raw, source="fuzz"),
            (encode_bundle([endorsement]),),
            (f"{_PACKAGE}.collateral.bundle:read_bundle",),
        ),
        Target(
            "verify-bundle",
            Bundle.parse,
            (bundle.encode(),),
            ("confide.cli.attest_bundle:Bundle.parse",),
            refusals=_BOTH,
        ),
        Target(
            "policy-file",
            lambda raw: load_policy(raw, at=_AT),
            (_policy(),),
            (f"{_PACKAGE}.policy_file:load_policy", f"{_PACKAGE}.policy_file:parse"),
            refusals=(ConfigError,),
        ),
        *_releases(release),
    ]


def _releases(release: bytes) -> list[Target]:
    package = f"{_PACKAGE}.releases"
    return [
        Target(
            "release",
            lambda raw: read_release(raw, keys=publisher.KEYS, at=_AT),
            (release,),
            (f"{package}.manifest:read_release", f"{package}.dsse:Envelope.parse"),
            refusals=_BOTH,
        ),
        Target(
            "release-payload",
            _payload,
            (Envelope.parse(release).payload,),
            (f"{package}.manifest:read_release",),
            refusals=_BOTH,
        ),
        Target(
            "release-keys",
            ReleaseKeys.parse,
            (publisher.keys_file(),),
            (f"{package}.keys:ReleaseKeys.parse",),
            refusals=_BOTH,
        ),
        Target(
            "release-public-key",
            PublicKey.from_pem,
            (publisher.ALICE.public.to_pem(),),
            (f"{package}.keys:PublicKey.from_pem",),
            refusals=_BOTH,
        ),
        Target(
            "sigstore-bundle",
            _sigstore,
            (_sigstore_bundle(), read("sigstore/artifact.whl.sigstore.json")),
            (f"{_PACKAGE}.sigstore_bundle:verify_artifact",),
            refusals=_BOTH,
            needs="sigstore",
        ),
    ]
