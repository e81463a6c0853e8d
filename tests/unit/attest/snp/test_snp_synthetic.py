"""Reports with valid signatures under test roots, each wrong in one way."""

from datetime import timedelta

import pytest
from tests.unit.attest.snp import mint
from tests.unit.attest.snp.mint import NOW, TURIN_WORLD, World

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet, Outcome
from confide.attest.platforms.snp.chain import ROOTS, authenticate_report
from confide.attest.platforms.snp.verifier import SNP_FACTORS, SnpVerifier
from confide.errors import AttestationError
from confide.wire.strict_json import b64url

GENOA = World()
VLEK = World(vlek=True)


def check(world, *, crl=None, at=NOW, roots=None, **changes):
    parts = {"vek": world.vek, "chain": world.chain} | changes
    return authenticate_report(
        changes.pop("report", world.report),
        vek=parts["vek"],
        chain=parts["chain"],
        crl=crl,
        at=at,
        roots=world.roots if roots is None else roots,
    )


def refusal(world, **changes):
    with pytest.raises(AttestationError) as caught:
        check(world, **changes)
    return caught.value.code


@pytest.mark.parametrize("world", [GENOA, VLEK, TURIN_WORLD, World(product="Milan", version=2)])
def test_a_genuine_report_is_authenticated(world):
    genuine = check(world, crl=world.crl())
    claims = genuine.claims()
    assert claims["product"] == world.product
    assert claims["tcb"] == world.tcb
    assert claims["crl"] == "checked"
    assert claims["measurement"] == world.measurement
    assert genuine.expires_at == (NOW + timedelta(days=30)).replace(microsecond=0)


def test_without_a_revocation_list_the_claims_say_so():
    assert check(GENOA).claims()["crl"] == "absent"


def test_production_roots_refuse_it():
    assert refusal(GENOA, roots=ROOTS) == "snp.root_not_pinned"


@pytest.mark.parametrize("serial", [77, 2])
def test_a_revoked_leaf_or_authority_is_refused(serial):
    assert refusal(GENOA, crl=GENOA.crl(5, serial, 6)) == "snp.revoked"


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)])
def test_a_revocation_list_out_of_date_is_refused(days):
    assert refusal(GENOA, crl=GENOA.crl(days=days)) == "snp.crl_expired"


def test_a_revocation_list_of_another_key_is_refused():
    other = mint.rsa_key("somebody")
    assert refusal(GENOA, crl=GENOA.crl(signed_by=other)) == "snp.crl_signature"
    assert refusal(GENOA, crl=World(product="Turin").but(tcb=TURIN_WORLD.tcb).crl()) == (
        "snp.crl_signature"
    )
    assert refusal(GENOA, crl=b"0\x03\x02\x01\x05") == "snp.crl_signature"


def test_the_number_of_a_revocation_list_is_remembered():
    (fact,) = check(GENOA, crl=GENOA.crl(number=9)).facts
    assert (str(fact.key), fact.number) == ("snp/crl Genoa", 9)
    (fact,) = check(GENOA, crl=GENOA.crl(number=None)).facts
    assert fact.number is None


@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode"])
def test_a_key_of_another_firmware_level_is_refused(part):
    certified = GENOA.tcb | {part: GENOA.tcb[part] + 1}
    assert refusal(GENOA.but(certified=certified)) == "snp.tcb_cert_mismatch"


def test_turins_own_component_counts():
    certified = TURIN_WORLD.tcb | {"fmc": 9}
    assert refusal(TURIN_WORLD.but(certified=certified)) == "snp.tcb_cert_mismatch"


@pytest.mark.parametrize(
    "world",
    [
        GENOA.but(chip_id=bytes(64)),  # masked
        GENOA.but(chip_id=bytes(63) + b"\1"),
        GENOA.but(hardware_id=bytes(64)),
        GENOA.but(hardware_id=b"\1" * 8, chip_id=b"\1" * 8 + b"\2" * 56),
        TURIN_WORLD.but(chip_id=TURIN_WORLD.hardware_id + b"\1" + bytes(55)),
        GENOA.but(hardware_id=b"", chip_id=b"\1" * 64),
    ],
)
def test_another_chip_or_a_masked_one_is_refused(world):
    assert refusal(world) == "snp.chip_id_mismatch"


@pytest.mark.parametrize(
    "world",
    [
        GENOA.but(leaf_product="Milan-B0"),
        GENOA.but(cpuid=(0x19, 0x01)),
        GENOA.but(cpuid=(0x1A, 0x02)),
        GENOA.but(cpuid=(0x17, 0x31)),
        GENOA.but(cpuid=(0x19, 0x20)),
        GENOA.but(cpuid=(0x1A, 0x12)),
    ],
)
def test_another_or_an_unknown_product_is_refused(world):
    assert refusal(world) == "snp.product_mismatch"


@pytest.mark.parametrize("model", [0x10, 0x1F, 0xA0, 0xAF])
def test_bergamo_and_siena_are_genoa(model):
    claims = check(GENOA.but(cpuid=(0x19, model))).claims()
    assert claims["product"] == "Genoa"
    assert claims["model"] == f"Genoa/0x{model:02x}"


def test_a_vlek_names_its_cloud():
    assert check(VLEK).claims()["csp_id"] == "cc-test-1.example.com"
    assert refusal(VLEK.but(csp_id="\n")) == "snp.product_mismatch"


def test_a_vlek_that_names_no_cloud_has_no_such_claim():
    assert "csp_id" not in check(VLEK.but(csp_id=None)).claims()


def test_the_kind_of_key_is_the_one_the_report_names():
    assert refusal(GENOA.but(flags=1 << 2)) == "snp.signing_key"
    assert refusal(VLEK.but(flags=0)) == "snp.signing_key"
    for kind in range(2, 8):
        assert refusal(GENOA.but(flags=kind << 2)) == "snp.signing_key"


def test_a_report_that_the_host_asked_for_is_refused():
    assert refusal(GENOA.but(vmpl=0xFFFFFFFF)) == "snp.vmpl"


def test_a_vcek_under_the_authority_of_vleks_is_refused():
    leaf = mint.certificate(
        "SEV-VCEK", "SEV-VLEK-Genoa", mint.ec_key("leaf").public_key(), VLEK.authority_key, serial=9
    )  # fmt: skip
    code = refusal(GENOA, vek=mint.der(leaf), chain=VLEK.chain, roots=VLEK.roots)
    assert code == "snp.signing_key"


def test_a_leaf_signed_by_the_root_itself_is_refused():
    leaf = mint.certificate(
        "SEV-VCEK", "ARK-Genoa", mint.ec_key("leaf").public_key(), GENOA.root_key, serial=9
    )  # fmt: skip
    assert refusal(GENOA, vek=mint.der(leaf)) == "snp.chain_signature"


def test_a_chain_may_begin_with_its_root():
    assert check(GENOA, chain=mint.pem(GENOA.root, GENOA.authority)).product == "Genoa"


def test_a_chain_of_another_length_is_refused():
    root, authority = GENOA.root, GENOA.authority
    assert refusal(GENOA, chain=mint.pem(root)) == "snp.chain_signature"
    assert refusal(GENOA, chain=mint.pem(authority, root, root)) == "snp.chain_signature"
    assert refusal(GENOA, chain=b"") == "snp.chain_signature"


@pytest.mark.parametrize("days", [(-10, -1), (1, 10)])
def test_a_certificate_out_of_date_is_refused(days):
    assert refusal(GENOA.but(days=days)) == "snp.cert_expired"


def test_an_extension_that_is_there_twice_is_refused():
    world = GENOA.but(extra=(("3.7", mint.small(5)),))
    assert check(world)
    twice = bytes.fromhex("2b06010401 9c78 01 03 03".replace(" ", ""))
    once = bytes.fromhex("2b06010401 9c78 01 03 07".replace(" ", ""))
    edited = mint.resigned(world.leaf, world.authority_key, lambda tbs: tbs.replace(once, twice))
    assert refusal(world, vek=edited) == "snp.chain_signature"


def test_a_resigned_certificate_is_accepted_if_nothing_was_edited():
    assert check(GENOA, vek=mint.resigned(GENOA.leaf, GENOA.authority_key, lambda tbs: tbs))


@pytest.mark.parametrize("offset", [0x2A0 + 48, 0x2A0 + 71, 0x2E8 + 48, 0x330, 0x49F])
def test_unsigned_bytes_must_be_zero(offset):
    report = bytearray(GENOA.report)
    report[offset] = 1
    assert refusal(GENOA, report=bytes(report)) == "snp.signature_padding"


@pytest.mark.parametrize("length", [0, 1183, 1185, 4000])
def test_a_report_of_another_length_is_refused(length):
    assert refusal(GENOA, report=GENOA.report.ljust(4000, b"\0")[:length]) == "snp.report_size"


@pytest.mark.parametrize("version", [0, 1, 6, 2**32 - 1])
def test_an_unknown_version_is_refused(version):
    assert refusal(GENOA.but(version=version)) == "snp.report_version"


def test_another_signature_algorithm_is_refused():
    report = bytearray(GENOA.report)
    report[0x34] = 2
    assert refusal(GENOA, report=bytes(report)) == "snp.sig_algo"


# As a platform of the verifier.


def platform(world, *, staple=None, at=NOW):
    sheet = FactorSheet(SNP_FACTORS)
    staple = staple or {"vek": world.vek, "chain": world.chain, "crl": world.crl()}
    source = StapledEndorsements({"snp": {k: b64url(v) for k, v in staple.items()}})
    verifier = SnpVerifier(roots=world.roots)
    try:
        found = verifier.authenticate(world.report, aux={}, endorsements=source, sheet=sheet, at=at)
    except AttestationError as error:
        found = error
    return found, {factor.name: factor.outcome for factor in sheet.factors()}


def test_every_factor_passes_for_a_genuine_report():
    found, outcomes = platform(GENOA)
    assert found.report_data == bytes(64)
    assert set(outcomes.values()) == {Outcome.PASS}


def test_a_vlek_report_has_no_chip_to_compare():
    assert platform(VLEK)[1]["snp chip in certificate"] is Outcome.NOT_APPLICABLE


def test_without_a_list_revocation_is_not_claimed_to_be_checked():
    found, outcomes = platform(GENOA, staple={"vek": GENOA.vek, "chain": GENOA.chain})
    assert found.claims["crl"] == "absent"
    assert outcomes["snp not revoked"] is Outcome.NOT_APPLICABLE


def test_a_refusal_leaves_later_factors_unexamined():
    error, outcomes = platform(GENOA.but(days=(-10, -1)))
    assert error.code == "snp.cert_expired"
    assert outcomes["snp certificate chain"] is Outcome.PASS
    assert outcomes["snp certificate dates"] is Outcome.FAIL
    assert outcomes["snp report signature"] is Outcome.SKIP


@pytest.mark.parametrize("missing", ["vek", "chain"])
def test_missing_certificates_are_named(missing):
    whole = {"vek": GENOA.vek, "chain": GENOA.chain}
    error, outcomes = platform(GENOA, staple={k: v for k, v in whole.items() if k != missing})
    assert error.code == "collateral.missing"
    assert outcomes["snp certificates found"] is Outcome.FAIL
    assert outcomes["snp root pinned"] is Outcome.SKIP


def test_version_2_names_no_product_and_is_found_under_each():
    world = World(product="Milan", version=2, hardware_id=bytes(range(2, 66)))
    assert platform(world)[0].claims["product"] == "Milan"
