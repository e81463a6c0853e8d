"""The whole road: an envelope with an SEV-SNP report, a policy file, a verdict."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.attest.enclave_double import (
    DOCUMENT,
    MANIFEST,
    MANIFEST_SHA256,
    NONCE,
    START,
    key_document,
)
from tests.unit.attest.snp.mint import NOW, World

from confide.attest import binding
from confide.attest.evidence import CpuReport, Evidence, EvidenceKind
from confide.attest.factors import Outcome
from confide.attest.platforms.snp.verifier import SnpVerifier
from confide.attest.policy_file import load_policy
from confide.attest.verifier import Verifier
from confide.errors import AppraisalError, AttestationError, BindingError
from confide.wire.strict_json import b64url

BOUND = binding.report_data(
    hashlib.sha256(DOCUMENT).digest(), NONCE, binding.gpu_digest([]), MANIFEST_SHA256
)
GENOA = World(report_data=BOUND)
VECTORS = Path(__file__).parents[3] / "vectors" / "attestation" / "snp"
POLICY = f"""
version = 1
name = "test"
not_after = 2099-01-01T00:00:00Z
[[workload]]
name = "release"
manifest_sha256 = "{MANIFEST_SHA256.hex()}"
snp = [{{ product = "Genoa", measurement = "{bytes(range(48)).hex()}" }}]
[snp.min_tcb.Genoa]
bootloader = 10
tee = 0
snp = 23
microcode = 84
"""


def envelope(report, **collateral):
    return Evidence(
        kind=EvidenceKind.HARDWARE,
        document=DOCUMENT,
        client_nonce=NONCE,
        manifest_sha256=MANIFEST_SHA256,
        collected_at=START,
        cpu=CpuReport("sev-snp", report),
        collateral={"snp": {part: b64url(one) for part, one in collateral.items()}},
    ).encode()


@pytest.fixture
def explained(monkeypatch):
    """Examine a world's evidence under the roots of the tests."""

    def explain(world, *, policy=POLICY, at=NOW, roots=None, crl=None, **changes):
        platforms = {"sev-snp": SnpVerifier(roots=roots or world.roots)}
        monkeypatch.setattr("confide.attest.platform.BUILT_IN", platforms)
        raw = envelope(world.report, vek=world.vek, chain=world.chain, crl=crl or world.crl())
        verifier = Verifier(load_policy(policy.encode(), at=at))
        asked = {"document": DOCUMENT, "manifest": MANIFEST, "nonce": NONCE} | changes
        return verifier.explain(raw, **asked, at=at)

    return explain


def test_a_genuine_accepted_guest_gets_a_verdict(explained):
    explanation = explained(GENOA)
    assert explanation.error is None
    result = explanation.result
    assert (result.platform, result.claims["product"]) == ("sev-snp", "Genoa")
    assert result.claims["crl"] == "checked"
    passed = {f.name for f in result.factors if f.outcome is Outcome.PASS}
    assert len([name for name in passed if name.startswith("snp ")]) >= 28
    assert not [f.name for f in result.factors if f.outcome in (Outcome.FAIL, Outcome.SKIP)]
    assert "chip_id" in result.unexamined
    assert result.to_json()


def test_a_verdict_ends_when_the_revocation_list_does(explained):
    crl = GENOA.crl(days=(-30, 0.01))
    result = explained(GENOA, crl=crl).result
    assert NOW < result.expires_at < NOW + timedelta(minutes=15)


@pytest.mark.parametrize("part", [0, 31, 63])
def test_a_genuine_report_about_something_else_is_refused(explained, part):
    other = bytearray(BOUND)
    other[part] ^= 1
    error = explained(GENOA.but(report_data=bytes(other))).error
    assert isinstance(error, BindingError)
    assert error.code == "binding.report_data"


def test_a_report_of_one_key_document_does_not_vouch_for_another(explained):
    other = key_document(boot_id="6b" * 16)
    assert isinstance(explained(GENOA, document=other).error, AttestationError)


@pytest.mark.parametrize(
    ("bent", "code", "factor"),
    [
        ({"vmpl": 3}, "snp.vmpl", "snp vmpl"),
        ({"policy": 0x20000 | 1 << 19}, "snp.debug_allowed", "debug off"),
        ({"measurement": bytes(48)}, "snp.measurement", "measurement accepted"),
        ({"firmware": (1, 54, 1)}, "snp.abi", "snp firmware version"),
        ({"launched": {**World().tcb, "snp": 22}}, "snp.tcb_launch", "snp launch tcb"),
        ({"committed": {**World().tcb, "microcode": 83}}, "snp.tcb_committed", "snp committed tcb"),
    ],
)
def test_a_refusal_names_its_factor_whose_it_is_and_what_to_do(explained, bent, code, factor):
    explanation = explained(GENOA.but(**bent))
    assert isinstance(explanation.error, AppraisalError)
    assert explanation.error.code == code
    failed = {f.name: f for f in explanation.factors if f.outcome is Outcome.FAIL}
    assert factor in failed
    assert all(f.next_command for f in failed.values())


def test_every_objection_is_collected(explained):
    world = GENOA.but(vmpl=2, policy=0x30000, firmware=(1, 50, 1), platform_info=0)
    found = {one.code for one in explained(world).error.findings}
    assert found == {"snp.vmpl", "snp.smt", "snp.abi", "snp.platform_info"}


def test_a_chip_that_is_not_listed_is_refused(explained):
    machines = '[platforms]\nsnp_chip_ids = ["{}"]\n'
    listed = POLICY + machines.format(GENOA.hardware_id.hex())
    assert explained(GENOA, policy=listed).error is None
    other = POLICY + machines.format("ab" * 64)
    assert explained(GENOA, policy=other).error.code == "snp.chip_not_listed"


def test_production_roots_refuse_it():
    raw = envelope(GENOA.report, vek=GENOA.vek, chain=GENOA.chain, crl=GENOA.crl())
    verifier = Verifier(load_policy(POLICY.encode(), at=NOW))
    asked = {"document": DOCUMENT, "manifest": MANIFEST, "nonce": NONCE}
    assert verifier.explain(raw, **asked, at=NOW).error.code == "snp.root_not_pinned"


@pytest.mark.parametrize(
    ("report", "leaf", "chain"),
    [
        ("milan-v3/report.bin", "milan-v3/vcek.pem", "milan"),
        ("genoa-v3/report.bin", "genoa-v3/vcek.pem", "genoa"),
    ],
)
def test_a_genuine_report_of_the_world_is_about_somebody_elses_key(report, leaf, chain):
    """Under the production roots, everything holds but the 64 bytes."""
    raw = envelope(
        (VECTORS / report).read_bytes(),
        vek=(VECTORS / leaf).read_bytes(),
        chain=(VECTORS / "roots" / f"{chain}.pem").read_bytes(),
    )
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    explanation = Verifier(load_policy(POLICY.encode(), at=at)).explain(
        raw, document=DOCUMENT, manifest=MANIFEST, nonce=NONCE, at=at
    )
    assert explanation.error.code == "binding.report_data"
    outcomes = {f.name: f.outcome for f in explanation.factors}
    assert outcomes["snp report signature"] is Outcome.PASS
    assert outcomes["hardware root"] is Outcome.PASS
