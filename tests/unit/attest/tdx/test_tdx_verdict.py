"""The whole road: an envelope with a TDX quote, a policy file, a verdict; and Azure's."""

import hashlib

import pytest
from tests.unit.attest.azure import mint as azure
from tests.unit.attest.enclave_double import (
    DOCUMENT,
    MANIFEST,
    MANIFEST_SHA256,
    NONCE,
    START,
    key_document,
)
from tests.unit.attest.tdx.mint import (
    ATTRIBUTES,
    DAY,
    NOW,
    RTMRS,
    World,
    level,
    tcb_info,
)

from confide.attest import binding
from confide.attest.evidence import CpuReport, Evidence, EvidenceKind
from confide.attest.factors import Outcome
from confide.attest.platforms.azure.verifier import AzureTdxVerifier
from confide.attest.policy_file import load_policy
from confide.attest.verifier import Verifier
from confide.errors import AppraisalError, BindingError
from confide.wire.strict_json import b64url

BOUND = binding.report_data(
    hashlib.sha256(DOCUMENT).digest(), NONCE, binding.gpu_digest([]), MANIFEST_SHA256
)
WORLD = World()
HEAD = f"""
version = 1
name = "test"
not_after = 2099-01-01T00:00:00Z
[[workload]]
name = "release"
manifest_sha256 = "{MANIFEST_SHA256.hex()}"
"""
MEASURED = (
    f'tdx = [{{ mr_td = "{"22" * 48}", rtmr0 = ["{RTMRS[0].hex()}"], rtmr1 = "{RTMRS[1].hex()}", '
    f'rtmr2 = "{RTMRS[2].hex()}", rtmr3 = "{RTMRS[3].hex()}" }}]\n'
)
TABLE = '[tdx]\nallow_status = ["UpToDate"]\nmin_tcb_evaluation_number = 18\n'
MR_TD = bytes(range(48))
POLICY = HEAD + MEASURED.replace("22" * 48, MR_TD.hex()) + TABLE
AZURE_POLICY = (
    HEAD
    + TABLE
    + 'sept_ve = "paravisor"\n'
    + f'[azure]\nparavisor = ["{MR_TD.hex()}"]\n'
    + f'[azure.pcrs]\n4 = "{azure.PCRS[4].hex()}"\n[azure.vm]\nsecure-boot = true\n'
)


@pytest.fixture
def explained(monkeypatch):
    """Examine evidence under the root of the tests."""

    def explain(kind="tdx", *, policy=None, aux=None, document=DOCUMENT, info=None, **changes):
        inner = WORLD.verifier()
        platforms = {"tdx": inner, "azure-tdx": AzureTdxVerifier(inner)}
        monkeypatch.setattr("confide.attest.platform.BUILT_IN", platforms)
        quote = WORLD.quote(**({"report_data": BOUND, "mr_td": MR_TD} | changes))
        raw = Evidence(
            kind=EvidenceKind.HARDWARE,
            document=DOCUMENT,
            client_nonce=NONCE,
            manifest_sha256=MANIFEST_SHA256,
            collected_at=START,
            cpu=CpuReport(kind, quote, aux or {}),
            collateral={"tdx": {"collateral": b64url(WORLD.collateral(info=info))}},
        ).encode()
        verifier = Verifier(load_policy((policy or POLICY).encode(), at=NOW))
        return verifier.explain(raw, document=document, manifest=MANIFEST, nonce=NONCE, at=NOW)

    return explain


def failed(explanation):
    return {one.name: one for one in explanation.factors if one.outcome is Outcome.FAIL}


def test_a_genuine_accepted_guest_gets_a_verdict(explained):
    explanation = explained()
    assert explanation.error is None
    result = explanation.result
    assert (result.platform, result.claims["tcb_status"]) == ("tdx", "UpToDate")
    passed = {one.name for one in result.factors if one.outcome is Outcome.PASS}
    assert len([name for name in passed if name.startswith("tdx ")]) >= 24
    assert not [f.name for f in result.factors if f.outcome in (Outcome.FAIL, Outcome.SKIP)]
    assert result.to_json()


def test_a_verdict_ends_when_intels_data_does(explained):
    result = explained(info=tcb_info(until=NOW + DAY / 96)).result
    assert result.expires_at <= NOW + DAY / 96


@pytest.mark.parametrize("part", [0, 31, 63])
def test_a_genuine_quote_about_something_else_is_refused(explained, part):
    other = bytearray(BOUND)
    other[part] ^= 1
    error = explained(report_data=bytes(other)).error
    assert isinstance(error, BindingError)


def test_a_quote_of_one_key_document_does_not_vouch_for_another(explained):
    assert explained(document=key_document(boot_id="6b" * 16)).error is not None


@pytest.mark.parametrize(
    ("bent", "code", "factor"),
    [
        ({"attributes": ATTRIBUTES | 1}, "tdx.debug", "debug off"),
        ({"attributes": ATTRIBUTES | 1 << 29}, "tdx.migratable", "tdx migration off"),
        ({"attributes": 0}, "tdx.sept_ve", "tdx sept ve off"),
        ({"mr_td": bytes(48)}, "tdx.mr_td", "measurement accepted"),
        ({"rtmrs": (*RTMRS[:2], bytes(48), RTMRS[3])}, "tdx.rtmr2", "measurement accepted"),
        ({"info": tcb_info(levels=[level("OutOfDate")])}, "tdx.tcb_status", "tdx tcb status"),
        (
            {"info": tcb_info(tcbEvaluationDataNumber=17)},
            "tdx.tcb_evaluation_number",
            "tdx tcb data age",
        ),
    ],
)
def test_a_refusal_names_its_factor_whose_it_is_and_what_to_do(explained, bent, code, factor):
    explanation = explained(**bent)
    assert isinstance(explanation.error, AppraisalError)
    assert code in {one.code for one in explanation.error.findings} | {explanation.error.code}
    found = failed(explanation)
    assert factor in found
    assert all(one.next_command for one in found.values())


def test_a_machine_that_is_not_listed_is_refused(explained):
    machines = '[platforms]\ntdx_platform_ids = ["{}"]\n'
    assert explained(policy=POLICY + machines.format(bytes(range(16, 32)).hex())).error is None
    error = explained(policy=POLICY + machines.format("ab" * 16)).error
    assert error.code == "tdx.platform_not_listed"


def test_collateral_that_is_not_there_fails_a_factor_with_a_next_step(explained):
    explanation = explained(info=tcb_info(until=NOW - DAY / 2, issued=NOW - DAY))
    assert explanation.error.code == "tdx.tcb_info_expired"
    assert "fetch" in failed(explanation)["tdx tcb info"].next_command


def azure_parts(**changes):
    document = azure.runtime(user_data=BOUND)
    nonce = hashlib.sha256(BOUND).digest()
    aux = azure.parts(document=document, nonce=nonce, **changes)
    data = hashlib.sha256(document).digest() + bytes(32)
    return {"aux": aux, "report_data": data, "attributes": 0, "policy": AZURE_POLICY}


def test_a_guest_of_azure_gets_a_verdict_from_its_paravisor_and_pcrs(explained):
    explanation = explained("azure-tdx", **azure_parts())
    assert explanation.error is None
    result = explanation.result
    assert result.claims["pcrs"]["4"] == azure.PCRS[4].hex()
    names = {one.name for one in result.factors}
    assert len([name for name in names if name.startswith("azure ")]) == 9
    assert not [f.name for f in result.factors if f.outcome in (Outcome.FAIL, Outcome.SKIP)]
    assert result.to_json()


def test_a_guest_of_azure_that_booted_something_else_is_refused(explained):
    pcrs = (*azure.PCRS[:4], bytes(32), *azure.PCRS[5:])
    message = azure.attest(hashlib.sha256(BOUND).digest(), pcrs)
    explanation = explained("azure-tdx", **azure_parts(pcrs=pcrs, message=message))
    assert explanation.error.code == "azure.pcr"
    assert "azure pcrs accepted" in failed(explanation)


def test_evidence_of_azure_is_not_accepted_as_that_of_a_guest_without_a_paravisor(explained):
    parts = azure_parts() | {"policy": POLICY}
    assert isinstance(explained("tdx", **parts).error, BindingError)
    assert explained("azure-tdx", policy=POLICY).error.code == "azure.incomplete"


def test_a_policy_for_one_platform_refuses_the_other(explained):
    assert explained("azure-tdx", **(azure_parts() | {"policy": POLICY})).error.code in {
        "policy.platform",
        "tdx.sept_ve",
    }
