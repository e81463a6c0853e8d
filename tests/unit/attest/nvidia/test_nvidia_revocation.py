"""One authentic "revoked" refuses a device; anything less than "good" is not good."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.attest.nvidia import mint
from tests.unit.attest.nvidia.test_nvidia_devices import NOTHING, VERIFIER, check, refused, stapled

from confide.attest.collateral import History
from confide.attest.endorsements import (
    CollateralFact,
    Endorsement,
    EndorsementKey,
    EverySource,
)
from confide.attest.factors import FactorSheet, Outcome
from confide.errors import EndorsementError

CHAIN = mint.GPU.chain()
IDENTITY, PROVISIONER = (CHAIN[1], CHAIN[2]), (CHAIN[2], CHAIN[3])
GOOD = mint.ocsp_answers(mint.GPU)
REVOKED, UNKNOWN = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
HOUR = timedelta(hours=1)


def claims(**held):
    return check(source=stapled(**held)).claims


def first_wrong(**changes) -> list[bytes]:
    """Good answers, the one about the device's own certificate made in another way."""
    return [mint.ocsp_answer(*IDENTITY, **changes), *GOOD[1:]]


def test_answers_for_every_certificate_are_enough():
    assert claims(ocsp=GOOD)["revocation"] == "ocsp"


def test_the_result_ends_with_the_answer_that_ends_first():
    end = mint.NOW + 2 * HOUR
    genuine = check(source=stapled(ocsp=first_wrong(end=end)))
    assert genuine.expires_at == end


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_an_answer_left_out_is_an_answer_missing(left_out):
    answers = [one for number, one in enumerate(GOOD) if number != left_out]
    assert claims(ocsp=answers)["revocation"] != "ocsp"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    ("status", "code"), [(REVOKED, "nv.revoked"), (UNKNOWN, "nv.ocsp_unknown_cert")]
)
def test_a_revoked_or_unknown_certificate_anywhere_refuses_the_device(place, status, code):
    pairs = [(CHAIN[n], CHAIN[n + 1]) for n in (1, 2, 3)]
    answers = [
        mint.ocsp_answer(*pair, status=status) if number == place else GOOD[number]
        for number, pair in enumerate(pairs)
    ]
    assert refused(source=stapled(ocsp=answers)) == code


def test_a_good_answer_beside_a_revoked_one_does_not_help():
    revoked = mint.ocsp_answer(*IDENTITY, status=REVOKED)
    assert refused(source=stapled(ocsp=[*GOOD, revoked])) == "nv.revoked"
    assert refused(source=stapled(ocsp=[revoked, *GOOD])) == "nv.revoked"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"usage": ()}, "nv.ocsp_signature"),
        ({"usage": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "nv.ocsp_signature"),
        ({"made_by": mint.ROOT}, "nv.ocsp_signature"),
        ({"made_by": mint.root("Test GH100 Provisioner ICA 1")}, "nv.ocsp_signature"),
        ({"forged": True}, "nv.ocsp_signature"),
        ({"end": mint.NOW}, "nv.ocsp_expired"),
        ({"start": mint.NOW + HOUR}, "nv.ocsp_expired"),
        ({"end": None}, "nv.ocsp_expired"),
        ({"responder_end": mint.NOW - HOUR}, "nv.ocsp_expired"),
    ],
    ids=[
        "no usage", "other usage", "made by another authority", "made by an impostor",
        "changed signature", "ended", "not begun", "no end", "responder ended",
    ],
)  # fmt: skip
def test_an_answer_that_does_not_hold_is_a_problem_and_no_answer(changes, problem):
    found = claims(ocsp=first_wrong(**changes))
    assert found["revocation"] != "ocsp"
    assert found["revocation_problem"] == problem


def test_an_answer_of_the_issuer_itself_counts():
    assert claims(ocsp=first_wrong(direct=True))["revocation"] == "ocsp"


def test_an_answer_that_names_a_certificate_by_sha1_is_about_no_certificate():
    found = claims(ocsp=first_wrong(algorithm=hashes.SHA1()))
    assert found["revocation"] != "ocsp"
    assert found["revocation_problem"] == ""


def test_an_answer_that_names_another_issuer_of_the_same_name_does_not_count():
    impostor = mint.root("Test GH100 Provisioner ICA 1")
    found = claims(ocsp=first_wrong(named=impostor))
    assert (found["revocation"], found["revocation_problem"]) != ("ocsp", "")
    assert found["revocation"] != "ocsp"


def test_answers_about_another_device_do_not_count():
    other = mint.ocsp_answers(mint.OTHER_GPU)
    assert claims(ocsp=[other[0], *GOOD[1:]])["revocation"] != "ocsp"


def test_a_responder_that_is_busy_has_said_nothing():
    busy = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    raw = busy.public_bytes(mint.Encoding.DER)
    assert claims(ocsp=[raw])["revocation"] == "none"


def test_an_answer_cut_anywhere_is_an_answer_missing():
    for length in range(0, len(GOOD[0]), 3):
        assert claims(ocsp=[GOOD[0][:length], *GOOD[1:]])["revocation"] != "ocsp"


@given(st.binary(max_size=300))
def test_no_bytes_make_the_check_fail_otherwise(raw):
    assert claims(ocsp=[raw], crl=[raw])["revocation"] == "none"


@given(st.integers(0, len(GOOD[0]) - 1), st.integers(1, 255))
def test_no_single_change_of_an_answer_makes_it_better(at, mask):
    changed = bytearray(GOOD[0])
    changed[at] ^= mask
    assert claims(ocsp=[bytes(changed), *GOOD[1:]])["revocation"] in {"crl", "none", "ocsp"}


# Lists.

LISTS = [mint.revocation_list(mint.ROOT), mint.revocation_list(mint.IDENTITY)]


def test_lists_for_every_certificate_that_names_one_are_enough():
    assert claims(crl=LISTS)["revocation"] == "crl"


def test_a_list_in_pem_is_read_as_well():
    pem = [x509.load_der_x509_crl(one).public_bytes(mint.Encoding.PEM) for one in LISTS]
    assert claims(crl=pem)["revocation"] == "crl"


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_list_left_out_is_a_list_missing(left_out):
    assert claims(crl=[LISTS[1 - left_out]])["revocation"] == "none"


@pytest.mark.parametrize("withdrawn", [mint.PROVISIONER])
def test_a_listed_certificate_refuses_the_device(withdrawn):
    lists = [LISTS[0], mint.revocation_list(mint.IDENTITY, withdrawn)]
    assert refused(source=stapled(crl=lists)) == "nv.revoked"
    # Good answers of OCSP do not outweigh it.
    assert refused(source=stapled(crl=lists, ocsp=GOOD)) == "nv.revoked"


def test_a_list_of_the_devices_authority_withdraws_one_device():
    listed = mint.revocation_list(mint.PROVISIONER, CHAIN[1])
    assert refused(source=stapled(crl=[*LISTS, listed])) == "nv.revoked"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"end": mint.NOW}, "nv.crl_expired"),
        ({"start": mint.NOW + HOUR}, "nv.crl_expired"),
        ({"key": mint.ROOT.key}, "nv.crl_signature"),
        ({"critical": True}, "nv.crl_signature"),
    ],
)
def test_a_list_that_does_not_hold_is_a_problem_and_no_list(changes, problem):
    found = claims(crl=[LISTS[0], mint.revocation_list(mint.IDENTITY, **changes)])
    assert (found["revocation"], found["revocation_problem"]) == ("none", problem)


# What the source remembers.


class Remembering:
    """Offers answers and refuses facts older than a moment, as a cache does."""

    def __init__(self, listed, newest=None):
        self.listed, self.newest, self.seen = listed, newest, []

    def find(self, key: EndorsementKey):
        kind = key.kind.partition("/")[2]
        return tuple(Endorsement(key, one, "test") for one in self.listed.get(kind, ()))

    def saw(self, fact: CollateralFact) -> None:
        if self.newest is not None and fact.issued_at < self.newest:
            raise EndorsementError("older than what was seen", code="collateral.rollback")
        self.seen.append(fact)


def test_checked_facts_are_told_to_the_source():
    source = Remembering({"ocsp": GOOD, "crl": LISTS})
    check(source=source)
    kinds = [fact.key.kind for fact in source.seen]
    assert kinds.count("nvidia/ocsp") == 3
    assert kinds.count("nvidia/crl") == 2
    assert {fact.number for fact in source.seen if fact.key.kind == "nvidia/crl"} == {5}
    subjects = {fact.key.subject for fact in source.seen if fact.key.kind == "nvidia/ocsp"}
    assert any(subject.endswith("/41431d480fe5e87274") for subject in subjects)


def test_data_older_than_what_was_seen_does_not_count():
    source = Remembering({"ocsp": GOOD}, newest=mint.NOW)
    found = check(source=source).claims
    assert (found["revocation"], found["revocation_problem"]) == ("none", "collateral.rollback")


@pytest.mark.parametrize("kind", ["ocsp", "crl"])
def test_a_revocation_is_remembered_so_that_an_older_answer_does_not_take_it_back(kind):
    if kind == "ocsp":
        revoked = mint.ocsp_answer(*IDENTITY, status=REVOKED)
        before = first_wrong(start=mint.NOW - 3 * HOUR)
    else:
        certificate, issuer = IDENTITY
        revoked = mint.revocation_list(issuer, certificate)
        before = [mint.revocation_list(issuer, start=mint.NOW - 2 * mint.DAY, number=4)]
    history = History()
    assert refused(source=EverySource((stapled(**{kind: [revoked]}), history))) == "nv.revoked"
    found = check(source=EverySource((stapled(**{kind: before}), history))).claims
    assert found["revocation"] != "ocsp"
    assert found["revocation_problem"] == "collateral.rollback"


def test_what_is_not_known_is_a_visible_warning():
    sheet = FactorSheet(VERIFIER.factors)
    check(sheet=sheet, source=NOTHING)
    (factor,) = [one for one in sheet.factors() if one.name == "nvidia revocation"]
    assert factor.outcome is Outcome.FAIL
    assert not factor.enforced


def test_one_silent_device_among_several_shows():
    sheet = FactorSheet(VERIFIER.factors)
    check(sheet=sheet, source=NOTHING)
    check(sheet=sheet, source=stapled(ocsp=GOOD))
    (factor,) = [one for one in sheet.factors() if one.name == "nvidia revocation"]
    assert factor.outcome is Outcome.FAIL


def test_a_chain_without_lists_is_not_covered_by_none():
    board = replace(
        mint.GPU,
        provisioner=mint.ROOT.issue("Test GH100 Provisioner ICA 1"),
        above=(mint.ROOT,),
    )
    assert check(board).claims["revocation"] == "none"
