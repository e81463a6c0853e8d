"""Collateral is untrusted transport of what Intel signed: form, signatures, dates, history."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.tdx.mint import (
    DAY,
    FMSPC,
    NOW,
    World,
    level,
    module,
    pem,
    qe_identity,
    sign,
    simple_level,
    stamp,
    stapled,
    tcb_info,
)

from confide.attest.collateral import History
from confide.attest.endorsements import EndorsementKey, EverySource
from confide.attest.factors import FactorSheet, Outcome
from confide.attest.platforms.tdx.collateral import MAX_COLLATERAL, Collateral
from confide.attest.platforms.tdx.verifier import TDX_FACTORS
from confide.errors import AttestationError, EndorsementError, EvidenceError

WORLD = World()
QUOTE = WORLD.quote()
GOOD = WORLD.collateral()


def code_of(collateral, *, at=NOW, quote=QUOTE, world=WORLD):
    with pytest.raises(AttestationError) as refused:
        world.authenticate(quote, collateral, at=at)
    return refused.value.code


def edited(**changes):
    return json.dumps(json.loads(GOOD) | changes).encode()


def flipped(name, index=-1):
    raw = bytearray.fromhex(json.loads(GOOD)[name])
    raw[index] ^= 1
    return edited(**{name: raw.hex()})


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("root_ca_crl", "tdx.crl_signature"),
        ("pck_crl", "tdx.crl_signature"),
        ("tcb_info_signature", "tdx.tcb_info_signature"),
        ("qe_identity_signature", "tdx.qe_identity_signature"),
    ],
)
def test_each_signature_is_checked(name, code):
    assert code_of(flipped(name)) == code


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_the_exact_text_is_what_was_signed(name):
    text = json.loads(GOOD)[name]
    assert (
        code_of(edited(**{name: text.replace("UpToDate", "OutOfDate", 1)}))
        == f"tdx.{name}_signature"
    )
    assert code_of(edited(**{name: text + " "})) == f"tdx.{name}_signature"
    assert code_of(edited(**{name: ""})) == f"tdx.{name}_signature"


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_a_platform_cannot_sign_tcb_data_about_itself(name):
    text = json.loads(GOOD)[name]
    chain = pem(WORLD.pck.certificate, WORLD.ca.certificate, WORLD.root.certificate)
    forged = {
        f"{name}_issuer_chain": chain,
        f"{name}_signature": sign(WORLD.pck.key, text.encode()).hex(),
    }
    assert code_of(edited(**forged)) == "tdx.chain_signature"


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity", "pck_crl"])
def test_a_chain_under_another_root_is_refused(name):
    other = World()
    leaf = other.ca if name == "pck_crl" else other.signing
    chain = pem(leaf.certificate, other.root.certificate)
    assert code_of(edited(**{f"{name}_issuer_chain": chain})) == "tdx.root_not_pinned"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda dates: {"info": tcb_info(**dates)}, "tdx.tcb_info_expired"),
        (lambda dates: {"identity": qe_identity(**dates)}, "tdx.qe_identity_expired"),
        (lambda dates: {"root_ca_crl": WORLD.root.revoke(**dates).hex()}, "tdx.crl_expired"),
        (lambda dates: {"pck_crl": WORLD.ca.revoke(**dates).hex()}, "tdx.crl_expired"),
    ],
    ids=["tcb info", "qe identity", "root list", "pck list"],
)
@pytest.mark.parametrize(
    "dates",
    [
        {"issued": NOW - 30 * DAY, "until": NOW - DAY},
        {"issued": NOW + DAY, "until": NOW + 30 * DAY},
    ],
    ids=["expired", "not yet valid"],
)
def test_each_document_is_refused_outside_its_dates(make, code, dates):
    assert code_of(WORLD.collateral(**make(dates))) == code


def test_the_certificate_that_signs_tcb_data_has_dates_too():
    old = WORLD.root.issue("Intel SGX TCB Signing", end=NOW - DAY / 2)
    assert code_of(WORLD.collateral(signer=old)) == "tdx.cert_expired"


@pytest.mark.parametrize("of", ["pck", "ca", "root", "signing"])
def test_what_intel_revoked_is_refused(of):
    serial = getattr(WORLD, of).certificate.serial_number
    name, issuer = ("pck_crl", WORLD.ca) if of == "pck" else ("root_ca_crl", WORLD.root)
    sheet = FactorSheet(TDX_FACTORS)
    with pytest.raises(EndorsementError) as refused:
        WORLD.authenticate(QUOTE, edited(**{name: issuer.revoke(serial).hex()}), sheet=sheet)
    assert refused.value.code == "tdx.revoked"
    outcomes = {factor.name: factor.outcome for factor in sheet.factors()}
    assert outcomes["tdx not revoked"] is Outcome.FAIL


def test_the_list_of_another_ca_says_nothing_about_this_platform():
    other = WORLD.root.issue("Intel SGX PCK Processor CA", ca=True)
    changes = {
        "pck_crl": other.revoke().hex(),
        "pck_crl_issuer_chain": pem(other.certificate, WORLD.root.certificate),
    }
    assert code_of(edited(**changes)) == "tdx.crl_signature"
    assert code_of(edited(pck_crl=WORLD.root.revoke().hex())) == "tdx.crl_signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"fmspc": "00806F050000"},
        {"pceId": "0001"},
    ],
)
def test_tcb_info_of_another_platform_does_not_fit(changes):
    assert code_of(WORLD.collateral(info=tcb_info(**changes))) == "tdx.fmspc_mismatch"


@pytest.mark.parametrize(
    "documents",
    [
        {"info": tcb_info(id="SGX")},
        {"info": tcb_info(version=2)},
        {"info": tcb_info(version=True)},
        {"identity": qe_identity(id="QE")},
        {"identity": qe_identity(version=1)},
        {"info": tcb_info(tcbEvaluationDataNumber="18")},
        {"info": tcb_info(tcbLevels={})},
        {"info": tcb_info(tcbLevels=[{}])},
        {"info": tcb_info(issueDate="yesterday")},
        {"info": tcb_info(issueDate="2026-13-40T00:00:00Z")},
        {"info": tcb_info(nextUpdate=None)},
        {"identity": qe_identity(mrsigner="00")},
        {"identity": qe_identity(isvprodid="2")},
    ],
)
def test_a_signed_document_of_another_form_is_of_another_kind(documents):
    assert code_of(WORLD.collateral(**documents)) == "tdx.collateral_kind"


@pytest.mark.parametrize("text", ["[]", "{}", "no json", '{"id":"TDX","id":"TDX"}', "[" * 10_000])
def test_a_signed_text_that_is_no_document_is_of_another_kind(text):
    signature = sign(WORLD.signing.key, text.encode()).hex()
    assert code_of(edited(tcb_info=text, tcb_info_signature=signature)) == "tdx.collateral_kind"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "envelope.json"),
        (b"[]", "envelope.json"),
        (b"{}", "envelope.json"),
        (b"\xff\xfe", "envelope.json"),
        (GOOD[:-1] + b',"tcb_info":""}', "envelope.duplicate_key"),
        (GOOD[:-1] + b',"more":1}', "envelope.json"),
        (GOOD.ljust(MAX_COLLATERAL + 1), "envelope.size"),
        (edited(pck_crl="0g"), "envelope.json"),
        (edited(pck_crl="abc"), "envelope.json"),
        (edited(pck_crl=7), "envelope.json"),
        (edited(tcb_info_signature="00" * 65), "envelope.size"),
        (edited(tcb_info_issuer_chain="x" * 17_000), "envelope.size"),
    ],
)
def test_collateral_of_another_form_is_refused(content, code):
    with pytest.raises(EvidenceError) as refused:
        Collateral.parse(content)
    assert refused.value.code == code


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(json.loads(GOOD))), st.integers(0, 400), st.text(max_size=4))
def test_any_edit_is_accepted_as_it_was_or_refused_with_an_error_of_this_package(name, at, new):
    value = json.loads(GOOD)[name]
    with contextlib.suppress(AttestationError):
        WORLD.authenticate(QUOTE, edited(**{name: value[:at] + new + value[at + len(new) :]}))


def test_collateral_cut_anywhere_is_refused():
    for length in range(0, len(GOOD), 97):
        with pytest.raises(AttestationError):
            Collateral.parse(GOOD[:length])


def test_no_collateral_is_a_refusal_that_names_what_is_missing():
    with pytest.raises(EndorsementError) as refused:
        WORLD.verifier().authenticate(
            QUOTE, aux={}, endorsements=stapled(), sheet=FactorSheet(TDX_FACTORS), at=NOW
        )
    assert refused.value.code == "collateral.missing"
    assert f"{FMSPC.hex()}/platform" in str(refused.value)


def test_stale_collateral_does_not_hide_a_fresh_one():
    old = WORLD.collateral(info=tcb_info(issued=NOW - 9 * DAY, until=NOW - DAY))
    genuine = WORLD.verifier().authenticate(
        QUOTE,
        aux={},
        endorsements=stapled(old, GOOD),
        sheet=FactorSheet(TDX_FACTORS),
        at=NOW,
    )
    assert genuine.claims["tcb_status"] == "UpToDate"


OLDER = {"issued": NOW - 5 * DAY, "tcbEvaluationDataNumber": 17}
BEFORE = WORLD.collateral(
    info=tcb_info(**OLDER),
    identity=qe_identity(**OLDER),
    pck_crl=WORLD.ca.revoke(issued=NOW - 5 * DAY, number=6).hex(),
)
"""In date, and from before something was known."""


def of_several(*candidates, sources=()):
    return WORLD.verifier().authenticate(
        QUOTE,
        aux={},
        endorsements=EverySource((*sources, stapled(*candidates))),
        sheet=FactorSheet(TDX_FACTORS),
        at=NOW,
    )


NEWER_REFUSALS = {
    "tdx.revoked": {"pck_crl": WORLD.ca.revoke(WORLD.pck.certificate.serial_number).hex()},
    "tdx.tcb_revoked": {"info": tcb_info(levels=[level("Revoked")])},
    "tdx.tcb_no_match": {"info": tcb_info(levels=[level(pcesvn=200)])},
    "tdx.module_tcb_no_match": {"info": tcb_info(modules=[module(levels=[simple_level(99)])])},
}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("code", NEWER_REFUSALS)
def test_older_collateral_does_not_take_back_what_newer_says(code, swapped):
    """Stapled beside what the client holds, it would hide a flaw or a revocation."""
    candidates = [WORLD.collateral(**NEWER_REFUSALS[code]), BEFORE]
    assert of_several(BEFORE).claims["tcb_status"] == "UpToDate"
    with pytest.raises(EndorsementError) as refused:
        of_several(*(candidates[::-1] if swapped else candidates))
    assert refused.value.code == code


def test_the_newest_of_several_speaks_for_intel():
    worse = WORLD.collateral(info=tcb_info(levels=[level("OutOfDate")]))
    for candidates in ((BEFORE, worse), (worse, BEFORE)):
        claims = of_several(*candidates).claims
        assert (claims["tcb_status"], claims["tcb"]) == (
            "OutOfDate", {"tcb_evaluation_number": 18}
        )  # fmt: skip


@pytest.mark.parametrize("code", NEWER_REFUSALS)
def test_a_refusal_is_remembered_for_the_next_time(code):
    history = History()
    with pytest.raises(EndorsementError):
        of_several(WORLD.collateral(**NEWER_REFUSALS[code]), sources=(history,))
    with pytest.raises(EndorsementError) as refused:
        of_several(BEFORE, sources=(history,))
    assert refused.value.code == "collateral.rollback"


def test_a_revoked_signer_of_tcb_data_hides_no_other_candidate():
    serial = WORLD.signing.certificate.serial_number
    other = WORLD.root.issue("Intel SGX TCB Signing")
    listed = WORLD.root.revoke(serial).hex()
    bad, good = (WORLD.collateral(root_ca_crl=listed, signer=one) for one in (None, other))
    assert of_several(bad, good).claims["tcb_status"] == "UpToDate"


@pytest.mark.parametrize(
    "changes",
    [
        {"info": tcb_info(until=NOW + 2 * DAY)},
        {"identity": qe_identity(until=NOW + 2 * DAY)},
        {"root_ca_crl": WORLD.root.revoke(until=NOW + 2 * DAY).hex()},
        {"pck_crl": WORLD.ca.revoke(until=NOW + 2 * DAY).hex()},
        {"signer": WORLD.root.issue("Intel SGX TCB Signing", end=NOW + 2 * DAY)},
    ],
    ids=["tcb info", "qe identity", "root list", "pck list", "signing certificate"],
)
def test_the_earliest_end_is_when_the_result_ends(changes):
    genuine = WORLD.authenticate(QUOTE, WORLD.collateral(**changes))
    assert stamp(genuine.expires_at) == stamp(NOW + 2 * DAY)


class Remembering:
    """A source that takes note, and finds nothing itself."""

    def __init__(self, refuse=None):
        self.facts = {}
        self.refuse = refuse

    def find(self, key):
        return ()

    def saw(self, fact):
        if fact.key.kind == self.refuse:
            raise EndorsementError("older than what was seen", code="collateral.rollback")
        self.facts[str(fact.key)] = fact


def authenticate_with(source):
    return WORLD.verifier().authenticate(
        QUOTE,
        aux={},
        endorsements=EverySource((source, stapled(GOOD))),
        sheet=FactorSheet(TDX_FACTORS),
        at=NOW,
    )


def test_sources_learn_how_new_each_document_was():
    source = Remembering()
    authenticate_with(source)
    numbers = {name: fact.number for name, fact in source.facts.items()}
    assert numbers == {
        f"tdx/tcb {FMSPC.hex()}": 18,
        "tdx/qe td": 18,
        "tdx/pckcrl platform": 7,
        "tdx/rootcrl": 7,
    }
    assert all(fact.issued_at == NOW - DAY for fact in source.facts.values())
    assert EndorsementKey("tdx/rootcrl").subject == ""


@pytest.mark.parametrize("kind", ["tdx/tcb", "tdx/qe", "tdx/pckcrl", "tdx/rootcrl"])
def test_a_source_that_saw_newer_data_refuses(kind):
    with pytest.raises(EndorsementError) as refused:
        authenticate_with(Remembering(refuse=kind))
    assert refused.value.code == "collateral.rollback"


def test_the_lower_evaluation_number_of_both_documents_counts():
    collateral = WORLD.collateral(identity=qe_identity(tcbEvaluationDataNumber=17))
    claims = WORLD.authenticate(QUOTE, collateral).claims
    assert claims["tcb"] == {"tcb_evaluation_number": 17}
