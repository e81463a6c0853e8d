"""Our verdict on TDX quotes beside that of dcap-qvl, a second implementation in Rust.

dcap-qvl judges a little where we only report: it refuses TDs that are debuggable, that see
virtualization exceptions (all of Azure's) or that have a service TD. Everything else must
agree: what is accepted, with which status, advisories and number. Three differences are
known, and ours are the stricter ones: the root certificate that a chain carries must be the
pinned one, certification data must be of the type they claim, and TCB data must be signed by
a certificate of that name.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import dcap_qvl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.attest.tdx.mint import (
    NOW,
    SVN,
    World,
    level,
    module,
    pem,
    qe_identity,
    sign,
    simple_level,
    stapled,
    tcb_info,
)

from confide.attest.factors import FactorSheet
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, TdxVerifier
from confide.errors import AttestationError

FOLDER = Path(__file__).parents[1] / "vectors" / "attestation"
CASES = [
    case
    for case in json.loads((FOLDER / "manifest.json").read_text())["cases"]
    if case["platform"] == "tdx" and "collateral" in case["files"]
]
BINARY = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
JUDGED = ("Debug mode is enabled", "SEPT_VE_DISABLE is not enabled", "Invalid MR service TD")
WORLD = World()
QUOTE = WORLD.quote()
COLLATERAL = WORLD.collateral()
REFUSED = "refused"
CHAIN_AT = QUOTE.index(b"-----BEGIN")
ONLY_WE_LOOK = {
    *range(764, 766),  # type of the certification data
    *range(CHAIN_AT - 4, CHAIN_AT),  # length of the chain, which may cut off the root
    *range(QUOTE.rindex(b"-----BEGIN"), len(QUOTE)),  # the root
}


def theirs(quote, collateral, at, root=None):
    """Return status, advisories and number; `REFUSED`; or None where only they judge."""
    members = json.loads(collateral)
    members |= {name: bytes.fromhex(members[name]) for name in BINARY}
    now = int(at.timestamp())
    verifier = dcap_qvl.QuoteVerifier(root)
    policy = dcap_qvl.QuotePolicy.claims_only(now)
    try:
        bundle = dcap_qvl.QuoteCollateralV3(**members)
        found = verifier.verify_with_policy(quote, bundle, now, policy)
    except (ValueError, OverflowError) as error:
        return None if any(text in str(error) for text in JUDGED) else REFUSED
    tcb = json.loads(found.to_json())["tcb"]
    return tcb["status"], sorted(tcb["advisory_ids"]), tcb["eval_data_number"]


def ours(quote, collateral, at, verifier):
    try:
        claims = verifier.authenticate(
            quote,
            aux={},
            endorsements=stapled(collateral),
            sheet=FactorSheet(TDX_FACTORS),
            at=at,
        ).claims
    except AttestationError:
        return REFUSED
    number = claims["tcb"]["tcb_evaluation_number"]
    return claims["tcb_status"], list(claims["advisories"]), number


def agree(quote, collateral, *, world=WORLD, at=NOW):
    expected = theirs(quote, collateral, at, world.root_der)
    assert ours(quote, collateral, at, world.verifier()) == expected
    return expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_both_give_the_same_verdict_on_recorded_quotes(case):
    quote_file = FOLDER / (case["files"].get("quote") or case["files"]["quote_json"])
    quote = quote_file.read_bytes()
    if quote_file.suffix == ".json":
        quote = bytes.fromhex(json.loads(quote)["quote"])
    collateral = (FOLDER / case["files"]["collateral"]).read_bytes()
    at = datetime.fromisoformat(case["at"]).replace(tzinfo=UTC)
    expected = theirs(quote, collateral, at)
    found = ours(quote, collateral, at, TdxVerifier())
    if case["id"] == "tdx-sgx-quote":
        assert (found, expected[0]) == (REFUSED, "ConfigurationAndSWHardeningNeeded")
    elif expected is None:
        assert found != REFUSED
    else:
        assert found == expected


@pytest.mark.parametrize("body_type", [2, 3, 4])
def test_both_read_every_body_of_version_5(body_type):
    quote = WORLD.quote(version=5, body_type=body_type)
    assert agree(quote, WORLD.collateral()) == ("UpToDate", [], 18)


@pytest.mark.parametrize(
    ("documents", "status"),
    [
        ({"info": tcb_info(levels=[level("SWHardeningNeeded", advisories=["A"])])}, None),
        ({"info": tcb_info(levels=[level("Revoked")])}, REFUSED),
        ({"info": tcb_info(modules=[module(1, [simple_level(6, "OutOfDate", ["B"])])])}, None),
        ({"info": tcb_info(modules=[])}, REFUSED),
        ({"info": tcb_info(modules=[module(2)])}, REFUSED),
        ({"identity": qe_identity(levels=[simple_level(4, "OutOfDate", ["C"])])}, None),
        ({"identity": qe_identity(levels=[simple_level(5)])}, REFUSED),
        ({"identity": qe_identity(version=3)}, None),
        ({"identity": qe_identity(id="QE")}, REFUSED),
        ({"identity": qe_identity(miscselect="00000001")}, REFUSED),
        ({"identity": qe_identity(tcbEvaluationDataNumber=17)}, None),
        ({"info": tcb_info(fmspc="00806f050000")}, REFUSED),
    ],
)
def test_both_judge_tcb_data_alike(documents, status):
    found = agree(WORLD.quote(), WORLD.collateral(**documents))
    assert (found == REFUSED) is (status == REFUSED)


@pytest.mark.parametrize("of", ["pck", "ca", "root", "signing"])
def test_both_refuse_what_is_revoked(of):
    serial = getattr(WORLD, of).certificate.serial_number
    name, issuer = ("pck_crl", WORLD.ca) if of == "pck" else ("root_ca_crl", WORLD.root)
    collateral = WORLD.collateral(**{name: issuer.revoke(serial).hex()})
    assert agree(WORLD.quote(), collateral) == REFUSED


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_only_we_refuse_tcb_data_that_a_platform_signed_about_itself(name):
    members = json.loads(COLLATERAL)
    chain = pem(WORLD.pck.certificate, WORLD.ca.certificate, WORLD.root.certificate)
    members[f"{name}_issuer_chain"] = chain
    members[f"{name}_signature"] = sign(WORLD.pck.key, members[name].encode()).hex()
    forged = json.dumps(members).encode()
    assert theirs(QUOTE, forged, NOW, WORLD.root_der) == ("UpToDate", [], 18)
    assert ours(QUOTE, forged, NOW, WORLD.verifier()) == REFUSED


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["UpToDate", "SWHardeningNeeded", "OutOfDate"]),
            st.lists(st.integers(4, 6), min_size=16, max_size=16),
            st.lists(st.integers(4, 6), min_size=14, max_size=14),
            st.integers(12, 14),
        ),
        max_size=4,
    )
)
def test_both_find_the_same_level(rows):
    # Levels from new to old, as Intel lists them; the module's two components are its own.
    ordered = sorted(rows, key=lambda row: (row[1], row[3], row[2]), reverse=True)
    levels = [
        level(status, sgx=tuple(sgx), tdx=(0, 0, *tdx), pcesvn=pce)
        for status, sgx, tdx, pce in ordered
    ]
    svn = SVN[:2] + bytes([5] * 14)
    agree(WORLD.quote(svn=svn), WORLD.collateral(info=tcb_info(levels=levels)))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(QUOTE) - 1), st.integers(1, 255))
def test_neither_accepts_a_changed_quote(offset, mask):
    raw = bytearray(QUOTE)
    raw[offset] ^= mask
    expected = theirs(bytes(raw), COLLATERAL, NOW, WORLD.root_der)
    found = ours(bytes(raw), COLLATERAL, NOW, WORLD.verifier())
    assert found == expected or (offset in ONLY_WE_LOOK and found == REFUSED)
