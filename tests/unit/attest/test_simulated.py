"""Simulated evidence is loud, accepted where it was asked for by name, and nowhere else."""

import dataclasses
import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.attest.enclave_double import (
    DOCUMENT,
    MANIFEST,
    MANIFEST_SHA256,
    MEASUREMENT,
    NONCE,
    NOW,
    PLATFORMS,
    START,
    Enclave,
    key_document,
    policy,
)

from confide.attest.claims import Claims
from confide.attest.evidence import Evidence, EvidenceKind, SimulatedSignature
from confide.attest.factors import Outcome
from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.attest.platforms.simulated.verify import SimulatedResult, SimulatedVerifier
from confide.attest.policy import AnyOf, AppraisalPolicy
from confide.attest.reference_values import ReferenceValue
from confide.attest.results import AttestationResult
from confide.attest.verifier import Verifier, explain
from confide.errors import (
    AttestationError,
    ConfigError,
    EndorsementError,
    EvidenceError,
)

ROOT = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
ASKED = {"document": DOCUMENT, "manifest": MANIFEST, "nonce": NONCE, "at": NOW}


def collect(root=ROOT, **changes):
    options = {
        "document": DOCUMENT,
        "client_nonce": NONCE,
        "manifest_sha256": MANIFEST_SHA256,
        "now": START + 0.5,
    }
    return SimulatedCollector(root).collect(**(options | changes))


def verifier(root=ROOT):
    return SimulatedVerifier(
        root.public_key().public_bytes_raw(), i_understand_this_is_not_hardware=True
    )


def refused(raw, **changes):
    with pytest.raises(AttestationError) as caught:
        verifier().verify(raw, **(ASKED | changes))
    return caught.value


def test_the_local_stack_accepts_its_own_evidence():
    result = verifier().verify(collect(), **ASKED)
    assert result.simulated
    assert result.platform == "software-dev"
    assert result.expires_at == NOW + timedelta(hours=1)


def test_the_result_is_another_class_without_hardware_words():
    result = verifier().verify(collect(), **ASKED)
    assert not isinstance(result, AttestationResult)
    names = {field.name for field in dataclasses.fields(SimulatedResult)}
    assert names.isdisjoint({"measurement", "tcb", "claims"})
    assert not hasattr(result, "measurement")
    assert "measurement" not in result.to_json()


def test_the_result_is_loud_in_json():
    members = json.loads(json.dumps(verifier().verify(collect(), **ASKED).to_json()))
    assert members["simulated"] is True
    assert "warning" in members


def test_the_hardware_root_is_shown_as_failed():
    factors = {f.name: f for f in verifier().verify(collect(), **ASKED).factors}
    assert factors["hardware root"].outcome is Outcome.FAIL
    assert factors["evidence kind"].outcome is Outcome.FAIL


def test_it_never_expires_after_the_document():
    document = key_document(not_after=START + 60)
    result = verifier().verify(collect(document=document), **(ASKED | {"document": document}))
    assert result.expires_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("said", [False, None, 1, "yes"])
def test_it_must_be_asked_for_by_name(said):
    with pytest.raises(ValueError, match="by name"):
        SimulatedVerifier(bytes(32), i_understand_this_is_not_hardware=said)


def test_there_is_no_default_root():
    with pytest.raises(TypeError):
        SimulatedVerifier(i_understand_this_is_not_hardware=True)
    with pytest.raises(ValueError, match="32 bytes"):
        SimulatedVerifier(b"", i_understand_this_is_not_hardware=True)


def test_another_root_is_refused():
    error = refused(collect(root=Ed25519PrivateKey.generate()))
    assert isinstance(error, EndorsementError)
    assert error.code == "simulated.root_not_pinned"


def test_a_foreign_signature_under_our_key_name_is_refused():
    evidence = Evidence.parse(collect(root=Ed25519PrivateKey.generate()))
    public = ROOT.public_key().public_bytes_raw()
    forged = replace(evidence, simulated=SimulatedSignature(public, evidence.simulated.signature))
    assert refused(forged.encode()).code == "simulated.signature"


@pytest.mark.parametrize(
    "change",
    [
        {"client_nonce": bytes(32)},
        {"document": key_document(boot_id="00" * 16)},
        {"manifest_sha256": bytes(32)},
    ],
    ids=["nonce", "document", "manifest"],
)
def test_a_signature_about_something_else_is_refused_whatever_the_envelope_says(change):
    other = Evidence.parse(collect(**change))
    spliced = replace(Evidence.parse(collect()), simulated=other.simulated)
    assert refused(spliced.encode()).code == "simulated.signature"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client_nonce": bytes(32)}, "binding.nonce_mismatch"),
        ({"client_nonce": b""}, "binding.nonce_missing"),
        ({"document": key_document(boot_id="00" * 16)}, "binding.document"),
        ({"manifest_sha256": bytes(32)}, "binding.manifest"),
    ],
)
def test_evidence_about_something_else_is_refused(change, code):
    assert refused(collect(**change)).code == code


def test_another_manifest_is_refused():
    assert refused(collect(), manifest=b"{}").code == "binding.manifest"


def test_an_ended_document_is_refused():
    error = refused(collect(), at=NOW + timedelta(days=1))
    assert error.code == "binding.keyset_expired"


def test_a_signature_without_our_label_is_refused():
    from confide.attest.binding import gpu_digest, report_data

    evidence = Evidence.parse(collect())
    bound = report_data(hashlib.sha256(DOCUMENT).digest(), NONCE, gpu_digest(()), MANIFEST_SHA256)
    unlabelled = SimulatedSignature(evidence.simulated.public_key, ROOT.sign(bound))
    assert refused(replace(evidence, simulated=unlabelled).encode()).code == "simulated.signature"


# Nobody else accepts it.


def test_the_envelope_has_no_processor_shaped_bytes():
    members = json.loads(collect())
    assert "cpu" not in members
    assert members["gpus"] == []
    assert set(members["simulated"]) == {"public_key", "signature"}


@pytest.mark.parametrize(
    "using",
    [
        policy(),
        AppraisalPolicy(AnyOf(policy().requirement), name="any", not_after=policy().not_after),
    ],
    ids=["all of", "any of"],
)
def test_the_hardware_verifier_refuses_it_under_every_policy(using):
    with pytest.raises(EvidenceError) as caught:
        Verifier(using, platforms=PLATFORMS).verify(collect(), **ASKED)
    assert caught.value.code == "envelope.kind"


def test_explaining_shows_that_no_processor_vouches():
    explanation = explain(collect(), **ASKED, policy=policy(), platforms=PLATFORMS)
    shown = {factor.name: factor.outcome for factor in explanation.factors}
    assert explanation.result is None
    assert shown["hardware root"] is Outcome.FAIL
    assert shown["evidence kind"] is Outcome.FAIL
    assert shown["nonce echoed"] is Outcome.PASS
    assert shown["fresh and bound"] is Outcome.SKIP


def test_no_policy_can_name_it():
    with pytest.raises(ConfigError):
        ReferenceValue("x", EvidenceKind.SOFTWARE_DEV, MEASUREMENT, MANIFEST_SHA256)


def test_it_has_no_claims_to_satisfy_a_policy_with():
    with pytest.raises(ValueError, match="simulated"):
        Claims({"platform": "software-dev", "debuggable": False})


def test_the_simulated_verifier_refuses_hardware_evidence():
    assert refused(Enclave().collect()).code == "envelope.kind"
