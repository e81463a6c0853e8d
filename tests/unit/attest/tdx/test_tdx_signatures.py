"""From Intel's root to the TD report: every link, and who may stand where."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.attest.tdx.mint import DAY, NOW, World, der, entry, pem, sgx_extension

from confide.attest.factors import FactorSheet, Outcome
from confide.attest.platforms.tdx.chain import read_chain
from confide.attest.platforms.tdx.pck import read_platform
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.signature import check_signature
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, TdxVerifier
from confide.errors import AttestationError, EndorsementError

WORLD = World()
STRANGER = ec.generate_private_key(ec.SECP256R1())


def code_of(quote=None, collateral=None, *, world=WORLD, at=NOW):
    with pytest.raises(AttestationError) as refused:
        world.authenticate(quote, collateral, at=at)
    return refused.value.code


def with_leaf(common="Intel SGX PCK Certificate", *, issuer=None, extension=None, **changes):
    """Return a quote whose PCK certificate is another one."""
    issuer = issuer or WORLD.ca
    leaf = issuer.issue(common, extension=extension or sgx_extension(), **changes)
    chain = pem(leaf.certificate, issuer.certificate, WORLD.root.certificate)
    return WORLD.quote(chain=chain, pck_key=leaf.key)


def test_a_sound_quote_is_genuine_and_every_factor_is_examined():
    sheet = FactorSheet(TDX_FACTORS)
    genuine = WORLD.authenticate(sheet=sheet)
    assert genuine.claims["platform_id"] == bytes(range(16, 32)).hex()
    outcomes = {factor.name: factor.outcome for factor in sheet.factors()}
    assert outcomes.pop("tdx event log") is Outcome.NOT_APPLICABLE
    assert set(outcomes.values()) == {Outcome.PASS}


def test_the_shipped_verifier_refuses_a_root_that_is_not_intels():
    with pytest.raises(EndorsementError) as refused:
        TdxVerifier().authenticate(
            WORLD.quote(), aux={}, endorsements=None, sheet=FactorSheet(TDX_FACTORS), at=NOW
        )
    assert refused.value.code == "tdx.root_not_pinned"


def test_a_refusal_marks_its_factor_and_leaves_the_later_ones_unexamined():
    sheet = FactorSheet(TDX_FACTORS)
    with pytest.raises(EndorsementError):
        WORLD.authenticate(WORLD.quote(signing_key=STRANGER), sheet=sheet)
    outcomes = {factor.name: factor.outcome for factor in sheet.factors()}
    assert outcomes["tdx attestation key"] is Outcome.PASS
    assert outcomes["tdx quote signature"] is Outcome.FAIL
    assert outcomes["tdx tcb info"] is Outcome.SKIP


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"signing_key": STRANGER}, "tdx.quote_signature"),
        ({"pck_key": STRANGER}, "tdx.qe_report_signature"),
    ],
)
def test_each_signature_must_be_by_the_key_above(changes, code):
    assert code_of(WORLD.quote(**changes)) == code


def test_every_flipped_bit_below_the_chain_is_refused():
    quote = WORLD.quote()
    end = quote.index(b"-----BEGIN")
    for offset in range(0, end, 5):
        raw = bytearray(quote)
        raw[offset] ^= 1 << offset % 8
        with pytest.raises(AttestationError):
            check_signature(Quote.parse(bytes(raw)), at=NOW, roots=WORLD.roots)


def test_an_attestation_key_that_is_no_point_is_refused():
    quote = WORLD.quote()
    at = 48 + 584 + 4 + 64
    raw = quote[:at] + b"\xff" * 64 + quote[at + 64 :]
    assert code_of(raw) == "tdx.qe_report_data"


def test_the_platform_ca_may_be_the_processor_ca_which_names_no_instance():
    world = World(ca_name="Intel SGX PCK Processor CA", instance=None)
    assert world.authenticate().claims["platform_id"] == bytes(range(16)).hex()


@pytest.mark.parametrize("common", ["Intel SGX TCB Signing", "Some Other CA", ""])
def test_a_leaf_of_another_name_is_out_of_place(common):
    if common:
        assert code_of(with_leaf(common)) == "tdx.chain_signature"
    other = WORLD.root.issue(common or "Intel SGX PCK", ca=True)
    assert code_of(with_leaf(issuer=other)) == "tdx.chain_signature"


def test_a_leaf_that_its_ca_did_not_sign_is_refused():
    other = World()
    chain = pem(other.pck.certificate, WORLD.ca.certificate, WORLD.root.certificate)
    assert code_of(WORLD.quote(chain=chain, pck_key=other.pck.key)) == "tdx.chain_signature"


def test_a_ca_that_is_no_authority_cannot_issue():
    weak = WORLD.root.issue("Intel SGX PCK Platform CA", ca=False)
    assert code_of(with_leaf(issuer=weak)) == "tdx.chain_signature"


@pytest.mark.parametrize(
    "chain",
    [
        "",
        "no certificate",
        WORLD.chain[:-40],
        WORLD.chain * 2,
        pem(WORLD.pck.certificate),
        pem(WORLD.pck.certificate, WORLD.root.certificate),
        "-----BEGIN CERTIFICATE-----\n" * 3,
    ],
    ids=["empty", "text", "cut", "twice", "leaf only", "no ca", "headers only"],
)
def test_a_chain_of_another_form_is_refused(chain):
    assert code_of(WORLD.quote(chain=chain)) == "tdx.chain_signature"


def test_a_chain_with_another_hash_or_curve_is_refused():
    assert code_of(with_leaf(digest=hashes.SHA384())) == "tdx.chain_signature"
    other_curve = ec.generate_private_key(ec.SECP384R1())
    leaf = WORLD.ca.issue("Intel SGX PCK Certificate", extension=sgx_extension(), key=other_curve)
    chain = pem(leaf.certificate, WORLD.ca.certificate, WORLD.root.certificate)
    assert code_of(WORLD.quote(chain=chain)) == "tdx.chain_signature"


@pytest.mark.parametrize(
    "dates", [{"end": NOW - DAY / 2}, {"start": NOW + DAY, "end": NOW + 9 * DAY}]
)
def test_a_platform_certificate_outside_its_dates_is_refused(dates):
    assert code_of(with_leaf(**dates)) == "tdx.cert_expired"


@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b"\x30\x00",
        sgx_extension()[:-1],
        sgx_extension(fmspc=bytes(5)),
        sgx_extension(ppid=bytes(15)),
        sgx_extension(pce_id=bytes(3)),
        sgx_extension(components=(5,) * 15),
        sgx_extension(pce_svn=65536),
        sgx_extension(extra=entry([4], der(4, bytes(6)))),
        sgx_extension(instance=bytes(17)),
    ],
    ids=[
        "empty", "nothing", "cut", "fmspc", "ppid", "pce id", "fifteen", "pce svn", "twice",
        "instance",
    ],
)  # fmt: skip
def test_a_platform_that_is_not_described_is_refused(extension):
    leaf = WORLD.ca.issue("Intel SGX PCK Certificate", extension=extension)
    with pytest.raises(EndorsementError) as refused:
        read_platform(leaf.certificate)
    assert refused.value.code == "tdx.chain_signature"


def test_a_platform_certificate_without_the_extension_is_refused():
    leaf = WORLD.ca.issue("Intel SGX PCK Certificate")
    chain = pem(leaf.certificate, WORLD.ca.certificate, WORLD.root.certificate)
    assert code_of(WORLD.quote(chain=chain, pck_key=leaf.key)) == "tdx.chain_signature"


def test_a_pem_chain_may_end_with_the_zero_byte_of_c():
    assert len(read_chain(WORLD.chain.encode() + b"\0")) == 3


def test_a_root_is_pinned_by_certificate_and_by_key():
    (root,) = WORLD.roots
    for changed in (
        replace(root, certificate_sha256="00" * 32),
        replace(root, spki_sha256="00" * 32),
    ):
        with pytest.raises(EndorsementError) as refused:
            check_signature(Quote.parse(WORLD.quote()), at=NOW, roots=(changed,))
        assert refused.value.code == "tdx.root_not_pinned"
