"""The six steps: each one refuses what it is there to refuse, with its own code."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.attest.enclave_double import (
    CPU,
    DOCUMENT,
    GPU,
    MANIFEST,
    NONCE,
    NOW,
    PLATFORMS,
    REFERENCE,
    START,
    Enclave,
    TestPlatform,
    key_document,
    policy,
)
from tests.unit.attest.enclave_double import Ed25519PrivateKey as Key

from confide.attest.evidence import CpuReport
from confide.attest.factors import FACTORS, Outcome
from confide.attest.platform import Authenticated, with_built_ins
from confide.attest.policy import GpuConfidential, PinnedKey
from confide.attest.results import AttestationResult
from confide.attest.verifier import Verifier, explain
from confide.errors import (
    AppraisalError,
    AttestationError,
    BindingError,
    ConfigError,
    EndorsementError,
    EvidenceError,
)


def verify(raw, *, using=None, platforms=PLATFORMS, **changes):
    asked = {"document": DOCUMENT, "manifest": MANIFEST, "nonce": NONCE, "at": NOW} | changes
    return Verifier(using or policy(), platforms=platforms).verify(raw, **asked)


def refusal(raw, **changes):
    with pytest.raises(AttestationError) as caught:
        verify(raw, **changes)
    return caught.value


def outcomes(factors):
    return {factor.name: factor.outcome for factor in factors}


def test_genuine_fresh_bound_and_accepted_evidence_gives_a_result():
    result = verify(Enclave().collect())
    assert isinstance(result, AttestationResult)
    assert not result.simulated
    assert result.platform == CPU
    assert result.document_sha256.hex() == result.to_json()["document_sha256"]
    assert result.policy_digest == policy().digest
    assert set(outcomes(result.factors).values()) <= {Outcome.PASS, Outcome.NOT_APPLICABLE}


def test_the_result_says_which_claims_no_policy_looked_at():
    result = verify(Enclave().claiming(guest_svn=3).collect())
    assert result.unexamined == ("document_sha256", "gpus", "guest_svn")


def test_the_result_is_json():
    members = json.loads(json.dumps(verify(Enclave().collect()).to_json()))
    assert members["iat"] == START
    assert members["submods"][CPU]["claims"]["measurement"] == bytes(range(48)).hex()


def test_the_result_uses_the_names_of_eat():
    enclave = replace(Enclave(gpu_count=2)).claiming(chip_id="5a" * 64)
    members = verify(enclave.collect()).to_json()
    cpu = members["submods"][CPU]
    assert members["eat_nonce"] == base64.urlsafe_b64encode(NONCE).rstrip(b"=").decode()
    assert cpu["hwmodel"] == "Testa"
    assert cpu["dbgstat"] == "disabled-since-boot"
    assert len(base64.urlsafe_b64decode(cpu["ueid"])) == 33
    assert base64.urlsafe_b64decode(cpu["ueid"])[0] == 1
    assert {"gpu-0", "gpu-1"} <= members["submods"].keys()


def test_a_refusal_carries_the_factors_as_they_stood():
    with pytest.raises(AppraisalError) as caught:
        verify(Enclave().claiming(debuggable=True).collect())
    found = outcomes(caught.value.factors)
    assert found["debug off"] is Outcome.FAIL
    assert found["hardware root"] is Outcome.PASS


# 1. Parse the evidence.


def test_bytes_that_are_no_envelope_are_refused():
    assert refusal(b"{}").code == "envelope.json"


def test_an_unknown_platform_is_refused_and_the_known_ones_are_named():
    error = refusal(Enclave().collect(), platforms={})
    assert isinstance(error, EvidenceError)
    assert error.code == "envelope.type"
    assert CPU in str(error)
    assert "sev-snp" in str(error)


def test_an_unknown_gpu_platform_is_refused():
    error = refusal(Enclave(gpu_count=1).collect(), platforms={CPU: PLATFORMS[CPU]})
    assert error.code == "envelope.type"


def test_a_cpu_platform_among_the_gpus_is_refused():
    evidence = Enclave(gpu_count=1).evidence()
    swapped = replace(evidence, gpus=(replace(evidence.gpus[0], type=CPU),))
    assert refusal(swapped.encode()).code == "envelope.type"


def test_a_gpu_platform_as_the_cpu_is_refused():
    evidence = Enclave(gpu_count=1).evidence()
    swapped = replace(evidence, cpu=CpuReport(GPU, evidence.gpus[0].report))
    assert refusal(swapped.encode()).code == "envelope.type"


def test_a_key_document_that_is_none_is_refused():
    error = refusal(replace(Enclave(), document=b"{}").collect(), document=b"{}")
    assert error.code == "envelope.document"


def test_a_document_without_our_suite_is_refused():
    from confide.wire.key_config import KeyConfig

    document = key_document(key_configs=[KeyConfig(1, 0x0020, bytes(range(32)), ((1, 2),))])
    error = refusal(replace(Enclave(), document=document).collect(), document=document)
    assert error.code == "envelope.suite"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(-61, "binding.keyset_not_yet_valid"), (86_400, "binding.keyset_expired")],
)
def test_a_document_outside_its_dates_is_refused(seconds, code):
    error = refusal(Enclave().collect(), at=NOW + timedelta(seconds=seconds))
    assert isinstance(error, BindingError)
    assert error.code == code


@pytest.mark.parametrize("seconds", [-60, 86_399])
def test_a_document_inside_its_dates_is_accepted(seconds):
    at = NOW + timedelta(seconds=seconds)
    assert verify(Enclave().collect(), at=at).verified_at == at


def test_another_nonce_is_refused():
    error = refusal(Enclave(nonce=bytes(32)).collect())
    assert error.code == "binding.nonce_mismatch"


def test_cached_evidence_does_not_answer_a_challenge():
    error = refusal(Enclave(nonce=b"").collect())
    assert error.code == "binding.nonce_missing"


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
def test_a_challenge_is_32_bytes(nonce):
    with pytest.raises(ValueError, match="nonce"):
        verify(Enclave(nonce=b"").collect(), nonce=nonce)


def test_evidence_about_another_document_is_refused():
    other = key_document(boot_id="00" * 16)
    assert refusal(replace(Enclave(), document=other).collect()).code == "binding.document"


def test_another_manifest_than_the_document_names_is_refused():
    assert refusal(Enclave().collect(), manifest=b"{}").code == "binding.manifest"


def test_another_manifest_than_the_evidence_names_is_refused():
    error = refusal(replace(Enclave(), manifest_sha256=bytes(32)).collect())
    assert error.code == "binding.manifest"


def test_a_document_that_names_another_manifest_than_the_evidence_is_refused():
    manifest = b"{}"
    enclave = replace(Enclave(), manifest_sha256=hashlib.sha256(manifest).digest())
    assert refusal(enclave.collect(), manifest=manifest).code == "binding.manifest"


def test_nothing_is_authenticated_after_a_refusal():
    platform = TestPlatform(CPU)
    refusal(Enclave(nonce=bytes(32)).collect(), platforms={CPU: platform})
    assert platform.calls == 0


# 2. Obtain endorsements.


def test_missing_collateral_is_refused():
    evidence = replace(Enclave().evidence(), collateral={})
    error = refusal(evidence.encode())
    assert isinstance(error, EndorsementError)
    assert error.code == "collateral.missing"


def test_collateral_that_has_ended_is_refused():
    stale = {CPU: TestPlatform(CPU, expires_at=NOW)}
    assert refusal(Enclave().collect(), platforms=stale).code == "collateral.stale"


def test_collateral_of_a_gpu_that_has_ended_is_refused():
    stale = PLATFORMS | {GPU: TestPlatform(GPU, expires_at=NOW)}
    error = refusal(Enclave(gpu_count=1).collect(), platforms=stale)
    assert error.code == "collateral.stale"


# 3. Genuine.


def test_a_report_under_another_root_is_refused():
    error = refusal(replace(Enclave(), root=Key.generate()).collect())
    assert isinstance(error, EndorsementError)


def test_one_changed_byte_of_the_report_is_refused():
    evidence = Enclave().evidence()
    report = bytearray(evidence.cpu.report)
    report[70] ^= 1
    changed = replace(evidence, cpu=CpuReport(CPU, bytes(report)))
    assert refusal(changed.encode()).code == "test.report_signature"


# 4. Fresh and bound. The envelope below *states* the right things; the report does not.


@pytest.mark.parametrize(
    "other",
    [
        Enclave(nonce=bytes(32)),
        Enclave(document=key_document(boot_id="00" * 16)),
        Enclave(manifest_sha256=bytes(32)),
        Enclave(gpu_count=1),
    ],
    ids=["nonce", "document", "manifest", "gpus"],
)
def test_a_genuine_report_about_something_else_is_refused(other):
    spliced = replace(Enclave().evidence(), cpu=other.evidence().cpu)
    error = refusal(spliced.encode())
    assert isinstance(error, BindingError)
    assert error.code == "binding.report_data"


def test_gpu_reports_of_the_same_enclave_are_accepted():
    result = verify(Enclave(gpu_count=2).collect(), using=policy(GpuConfidential(2)))
    assert outcomes(result.factors)["gpu binding"] is Outcome.PASS
    assert outcomes(result.factors)["gpu accepted"] is Outcome.PASS


def test_an_emptied_gpu_list_is_refused():
    evidence = replace(Enclave(gpu_count=2).evidence(), gpus=())
    assert refusal(evidence.encode()).code == "binding.report_data"


def test_a_permuted_gpu_list_is_refused():
    evidence = Enclave(gpu_count=2).evidence()
    swapped = replace(evidence, gpus=evidence.gpus[::-1])
    assert refusal(swapped.encode()).code == "binding.report_data"


def test_gpu_reports_of_another_challenge_are_refused():
    other = Enclave(gpu_count=1, nonce=bytes(32)).evidence()
    evidence = replace(Enclave(gpu_count=1).evidence(), gpus=other.gpus)
    assert refusal(evidence.encode()).code == "binding.gpu_nonce"


def test_a_report_with_short_report_data_is_refused():
    class Short(TestPlatform):
        def authenticate(self, report, **options):
            found = super().authenticate(report, **options)
            return Authenticated(found.claims, b"", found.expires_at, found.summary)

    assert refusal(Enclave().collect(), platforms={CPU: Short(CPU)}).code == "binding.report_data"


def test_a_platform_cannot_replace_what_the_binding_proved():
    lying = Enclave().claiming(document_sha256="x", manifest_sha256="x", platform="x", gpus=["x"])
    result = verify(
        lying.collect(), using=policy(PinnedKey(verify(lying.collect()).document_sha256))
    )
    assert result.platform == CPU
    assert result.claims["gpus"] == ()
    assert result.claims["document_sha256"] == result.document_sha256


# 5. Acceptable.


def test_every_objection_is_collected():
    bad = Enclave().claiming(measurement=bytes(48).hex(), debuggable=True, tcb={"microcode": 4})
    error = refusal(bad.collect())
    assert isinstance(error, AppraisalError)
    assert [found.claim for found in error.findings] == [
        "measurement",
        "tcb.microcode",
        "debuggable",
    ]


def test_each_objection_is_shown_at_its_factor():
    bad = Enclave().claiming(debuggable=True, tcb={"microcode": 4})
    verifier = Verifier(policy(), platforms=PLATFORMS)
    explanation = verifier.explain(
        bad.collect(), document=DOCUMENT, manifest=MANIFEST, nonce=NONCE, at=NOW
    )
    shown = outcomes(explanation.factors)
    assert explanation.result is None
    assert shown["debug off"] is Outcome.FAIL
    assert shown["tcb minimum"] is Outcome.FAIL
    assert shown["measurement accepted"] is Outcome.PASS
    assert shown["expiry"] is Outcome.SKIP


@pytest.mark.parametrize("claim", ["measurement", "debuggable", "product", "tcb"])
def test_a_missing_claim_is_refused(claim):
    assert isinstance(refusal(Enclave().without(claim).collect()), AppraisalError)


def test_an_expired_policy_refuses():
    ended = policy(not_after=NOW)
    assert refusal(Enclave().collect(), using=ended).code == "policy.expired"


def test_expired_reference_values_refuse():
    ended = policy(reference=replace(REFERENCE, not_after=NOW))
    assert refusal(Enclave().collect(), using=ended).code == "policy.expired"


def test_a_verifier_without_a_policy_cannot_be_built():
    with pytest.raises(TypeError):
        Verifier(None)


def test_explaining_without_a_policy_is_always_a_refusal():
    explanation = explain(
        Enclave().collect(),
        document=DOCUMENT,
        manifest=MANIFEST,
        nonce=NONCE,
        at=NOW,
        policy=None,
        platforms=PLATFORMS,
    )
    shown = outcomes(explanation.factors)
    assert explanation.result is None
    assert explanation.error.code == "policy.missing"
    assert shown["fresh and bound"] is Outcome.PASS
    for name in ("policy valid", "measurement accepted", "debug off", "tcb minimum"):
        assert shown[name] is Outcome.FAIL


# 6. Result and expiry.


@pytest.mark.parametrize(
    ("limit", "evidence", "using", "platforms"),
    [
        (3600, Enclave(), policy(), PLATFORMS),
        (90, Enclave(), policy(not_after=NOW + timedelta(seconds=90)), PLATFORMS),
        (
            80,
            Enclave(),
            policy(reference=replace(REFERENCE, not_after=NOW + timedelta(seconds=80))),
            PLATFORMS,
        ),
        (70, Enclave(), policy(), {CPU: TestPlatform(CPU, NOW + timedelta(seconds=70))}),
    ],
    ids=["one hour", "policy", "reference values", "collateral"],
)
def test_the_result_expires_at_the_earliest_authenticated_date(limit, evidence, using, platforms):
    result = verify(evidence.collect(), using=using, platforms=platforms)
    assert result.expires_at == NOW + timedelta(seconds=limit)


def test_the_result_expires_with_gpu_collateral():
    platforms = PLATFORMS | {GPU: TestPlatform(GPU, NOW + timedelta(seconds=75))}
    result = verify(Enclave(gpu_count=1).collect(), platforms=platforms)
    assert result.expires_at == NOW + timedelta(seconds=75)


def test_the_result_expires_with_the_document():
    document = key_document(not_after=START + 60)
    result = verify(replace(Enclave(), document=document).collect(), document=document)
    assert result.expires_at == NOW + timedelta(seconds=60)


def test_a_document_without_end_in_this_calendar_is_accepted_for_an_hour():
    document = key_document(not_after=2**40)
    result = verify(replace(Enclave(), document=document).collect(), document=document)
    assert result.expires_at == NOW + timedelta(hours=1)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        verify(Enclave().collect(), at=NOW.replace(tzinfo=None))


def test_every_factor_is_listed_even_when_the_first_one_fails():
    explanation = explain(
        b"", document=b"", manifest=b"", nonce=NONCE, at=NOW, policy=policy(), platforms=PLATFORMS
    )
    assert [factor.name for factor in explanation.factors] == [spec.name for spec in FACTORS]
    assert outcomes(explanation.factors)["fresh and bound"] is Outcome.SKIP


# Platforms.


def test_a_built_in_platform_cannot_be_replaced(monkeypatch):
    monkeypatch.setattr("confide.attest.platform.BUILT_IN", {CPU: TestPlatform(CPU)})
    with pytest.raises(ConfigError):
        with_built_ins({CPU: TestPlatform(CPU)})


def test_a_platform_is_listed_under_its_own_type():
    with pytest.raises(ConfigError):
        with_built_ins({"sev-snp": TestPlatform(CPU)})


def test_no_platform_may_claim_the_simulated_type():
    with pytest.raises(ConfigError):
        Verifier(policy(), platforms={"software-dev": TestPlatform("software-dev")})
