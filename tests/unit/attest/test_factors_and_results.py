"""A factor that was not examined is never trust."""

from dataclasses import replace

import pytest
from tests.unit.attest.enclave_double import NOW

from confide.attest.factors import Factor, FactorSheet, FactorSpec, Outcome, Owner
from confide.attest.results import AttestationResult
from confide.errors import AttestationError, BindingError

SPECS = (FactorSpec("a", Owner.YOU, next_command="confide doctor"), FactorSpec("b", Owner.CLOUD))
PASSED = Factor("a", Outcome.PASS, True, Owner.YOU, "fine")
RESULT = {
    "platform": "x",
    "nonce": bytes(32),
    "verified_at": NOW,
    "expires_at": NOW,
    "document_sha256": bytes(32),
    "manifest_sha256": bytes(32),
    "claims": {},
    "unexamined": (),
    "policy_name": "x",
    "policy_digest": bytes(32),
}


def test_what_was_not_examined_is_skip():
    sheet = FactorSheet(SPECS)
    sheet.passed("a", "fine")
    assert [factor.outcome for factor in sheet.factors()] == [Outcome.PASS, Outcome.SKIP]


def test_a_failure_stays():
    sheet = FactorSheet(SPECS)
    sheet.mark_failed("a", "first")
    sheet.passed("a", "second")
    sheet.not_applicable("a", "third")
    factor = sheet.factors()[0]
    assert (factor.outcome, factor.detail) == (Outcome.FAIL, "first")
    assert factor.next_command == "confide doctor"


def test_a_pass_names_no_next_command():
    sheet = FactorSheet(SPECS)
    sheet.passed("a", "fine")
    assert sheet.factors()[0].next_command is None


def test_a_check_goes_on_and_settling_raises_the_first_refusal():
    sheet = FactorSheet(SPECS)
    with sheet.check("a", "fine"):
        raise BindingError("first")
    with sheet.check("b", "fine"):
        raise AttestationError("second")
    with pytest.raises(BindingError):
        sheet.settle()
    assert len(sheet.errors) == 2


def test_a_step_records_and_raises():
    sheet = FactorSheet(SPECS)
    with pytest.raises(BindingError), sheet.step("a", "fine"):
        raise BindingError("no")
    assert sheet.factors()[0].outcome is Outcome.FAIL


def test_a_copy_is_independent():
    sheet = FactorSheet(SPECS)
    twin = sheet.copy()
    twin.passed("a", "fine")
    assert sheet.factors()[0].outcome is Outcome.SKIP


def test_names_are_unique_and_known():
    sheet = FactorSheet(SPECS)
    with pytest.raises(ValueError, match="already"):
        sheet.add((FactorSpec("a", Owner.YOU),))
    with pytest.raises(ValueError, match="no factor"):
        sheet.passed("unknown", "fine")


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.SKIP])
def test_no_result_exists_with_an_enforced_factor_open(outcome):
    with pytest.raises(AttestationError):
        AttestationResult(**RESULT, factors=(PASSED, replace(PASSED, name="b", outcome=outcome)))


def test_no_result_exists_without_factors():
    with pytest.raises(AttestationError):
        AttestationResult(**RESULT, factors=())


def test_a_factor_that_informs_refuses_nothing():
    informs = replace(PASSED, outcome=Outcome.FAIL, enforced=False)
    assert not AttestationResult(**RESULT, factors=(PASSED, informs)).simulated
