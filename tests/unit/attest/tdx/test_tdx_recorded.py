"""Genuine quotes of real machines, and what a strict policy says of them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.attest.tdx.mint import stapled

from confide.attest.claims import Claims
from confide.attest.factors import FactorSheet
from confide.attest.platforms.tdx.policy import read
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.signature import check_signature
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, TdxVerifier
from confide.attest.policy import AllOf, NotDebuggable
from confide.errors import AttestationError

FOLDER = Path(__file__).parents[3] / "vectors" / "attestation" / "tdx"
STRICT = AllOf(
    read({"allow_status": ["UpToDate"], "min_tcb_evaluation_number": 17}), NotDebuggable()
)


def authenticate(name, at, collateral=None, **aux):
    return TdxVerifier().authenticate(
        (FOLDER / name / "quote.bin").read_bytes(),
        aux=aux,
        endorsements=stapled((FOLDER / (collateral or name) / "collateral.json").read_bytes()),
        sheet=FactorSheet(TDX_FACTORS),
        at=datetime.fromisoformat(at).replace(tzinfo=UTC),
    )


def codes(genuine, policy=STRICT):
    found = Claims({**genuine.claims, "platform": "tdx"})
    return [objection.code for objection in policy.objections(found)]


@pytest.mark.parametrize(
    ("name", "at"),
    [("v4-uptodate", "2025-06-20"), ("v5-uptodate", "2026-03-17"), ("v4-ccel", "2025-10-20")],
)
def test_a_machine_that_is_up_to_date_satisfies_the_strict_policy(name, at):
    assert codes(authenticate(name, at + "T12:00:00")) == []


def test_a_debuggable_td_is_genuine_and_refused():
    genuine = authenticate("v4-debug", "2026-03-17T12:00:00")
    assert "tdx.debug" in codes(genuine)


def test_an_out_of_date_machine_is_genuine_and_refused_unless_each_advisory_is_accepted():
    genuine = authenticate("v4-outofdate", "2025-07-08")
    assert codes(genuine) == ["tdx.tcb_status"]
    rule = {
        "status": "OutOfDate",
        "until": datetime(2025, 8, 1, tzinfo=UTC),
        "advisories": ["INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986"],
    }
    table = {"allow_status": ["UpToDate", rule], "min_tcb_evaluation_number": 17}
    assert codes(genuine, read(table)) == []


def test_a_td_of_azure_is_genuine_and_needs_a_policy_for_its_paravisor():
    genuine = authenticate("v4-azure", "2025-07-08", collateral="v4-outofdate")
    assert "tdx.sept_ve" in codes(genuine)
    table = {"allow_status": ["UpToDate"], "min_tcb_evaluation_number": 17, "sept_ve": "paravisor"}
    assert "tdx.sept_ve" not in codes(genuine, read(table))


def test_data_of_an_older_evaluation_is_refused_by_its_number():
    table = {"allow_status": ["UpToDate"], "min_tcb_evaluation_number": 18}
    assert codes(authenticate("v4-uptodate", "2025-06-20"), read(table)) == [
        "tdx.tcb_evaluation_number"
    ]
    assert codes(authenticate("v5-uptodate", "2026-03-17T12:00:00"), read(table)) == []


def test_the_result_ends_with_the_first_document_of_intels_that_ends():
    genuine = authenticate("v5-uptodate", "2026-03-17T12:00:00")
    members = json.loads((FOLDER / "v5-uptodate" / "collateral.json").read_text())
    ends = [json.loads(members[name])["nextUpdate"] for name in ("tcb_info", "qe_identity")]
    assert genuine.expires_at <= min(map(datetime.fromisoformat, ends))


def test_one_boots_log_with_another_boots_quote_is_refused():
    log = (FOLDER / "v4-ccel-2" / "ccel-other-boot.bin").read_bytes()
    with pytest.raises(AttestationError) as refused:
        authenticate("v4-ccel", "2025-10-20", eventlog=log)
    assert refused.value.code == "tdx.eventlog_mismatch"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FOLDER.glob("v*/quote.bin")))
def test_every_recorded_quote_is_signed_up_to_intels_root(name):
    quote = Quote.parse((FOLDER / name / "quote.bin").read_bytes())
    signed = check_signature(quote, at=datetime(2026, 11, 20, tzinfo=UTC))
    assert (signed.authority, len(signed.platform.ppid)) == ("platform", 16)
