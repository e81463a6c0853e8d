"""Recorded pieces that belong to no whole case: chains, a leaf, reports without a leaf."""

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from confide.attest.platforms.snp.certificates import AmdCertificate, der_blocks
from confide.attest.platforms.snp.chain import ROOTS, Authority, authenticate_report, read_leaf
from confide.attest.platforms.snp.fit import named_product
from confide.attest.platforms.snp.policy import KEYS, read
from confide.attest.platforms.snp.report import SnpReport
from confide.attest.platforms.snp.revocation import RevocationList
from confide.attest.platforms.snp.verifier import SNP_FACTORS
from confide.errors import AttestationError

ROOT = Path(__file__).parents[4]
SNP = ROOT / "tests" / "vectors" / "attestation" / "snp"
PAGE = (ROOT / "docs" / "explanation" / "attestation-snp.md").read_text()
AT = datetime(2025, 10, 1, tzinfo=UTC)


def chain(name):
    return (SNP / "roots" / f"{name}.pem").read_bytes()


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize("kind", ["", "-vlek"])
def test_every_chain_that_amd_serves_leads_to_its_pinned_root(product, kind):
    authority = Authority.read(chain(product.lower() + kind))
    assert authority.product == product
    middle = "SEV-VLEK-" if kind else "SEV-"
    assert authority.certificate.common_name == middle + product
    assert authority.root.common_name == f"ARK-{product}"


def test_the_intermediates_of_one_product_are_not_those_of_another():
    genoa, milan = (der_blocks(chain(name)) for name in ("genoa", "milan"))
    mixed = "".join(ssl.DER_cert_to_PEM_cert(der) for der in (genoa[0], milan[1]))
    with pytest.raises(AttestationError) as caught:
        Authority.read(mixed.encode())
    assert caught.value.code == "snp.chain_signature"


def test_a_leaf_of_siena_is_genoas():
    leaf, authority = read_leaf(
        (SNP / "genoa-v5" / "vcek.der").read_bytes(), (Authority.read(chain("genoa")),)
    )
    assert authority.product == "Genoa"
    assert named_product(leaf).partition("-")[0] == "Genoa"
    assert leaf.serial == 0


@pytest.mark.parametrize(
    "path", [path for path in SNP.rglob("v?ek*") if "invalid" not in path.name], ids=str
)
def test_leaves_have_serial_number_0_so_a_list_cannot_name_one(path):
    assert AmdCertificate.parse(der_blocks(path.read_bytes())[0]).serial == 0


@pytest.mark.parametrize("product", ["Milan", "Genoa"])
@pytest.mark.parametrize("ending", ["der", "pem"])
def test_recorded_lists_hold_under_their_own_root_only(product, ending):
    content = (SNP / "crl" / f"{product.lower()}.crl.{ending}").read_bytes()
    for name in ("milan", "genoa", "turin"):
        root = Authority.read(chain(name)).root
        if name == product.lower():
            found = RevocationList.read(content, root, AT)
            assert (found.number, found.serials) == (
                {"Milan": (6, frozenset()), "Genoa": (4, frozenset({0x20001}))}[product]
            )
        else:
            with pytest.raises(AttestationError) as caught:
                RevocationList.read(content, root, AT)
            assert caught.value.code == "snp.crl_signature"


@pytest.mark.parametrize(
    ("name", "version", "model", "later"),
    [
        ("gce-milan-v4", 4, "Milan/0x01", set()),
        ("genoa-v3", 3, "Genoa/0x11", set()),
        ("milan-v5", 5, "Milan/0x01", {"mitigations_launch", "mitigations_current"}),
    ],
)
def test_reports_of_later_versions_are_read(name, version, model, later):
    report = SnpReport.parse((SNP / "parse-only" / f"{name}.bin").read_bytes())
    claims = report.claims(report.product)
    assert (claims["report_version"], claims["model"]) == (version, model)
    assert claims["firmware"].startswith("1.")
    assert {name for name in claims if name.startswith("mitigations")} == later


def test_the_pins_are_the_documented_fingerprints():
    manifest = (SNP.parent / "manifest.json").read_text()
    assert len(ROOTS) == 3
    assert all(fingerprint.hex() in manifest for fingerprint in ROOTS)


def test_a_report_whose_leaf_is_of_another_chip_of_the_same_product_is_refused():
    with pytest.raises(AttestationError) as caught:
        authenticate_report(
            (SNP / "parse-only" / "genoa-v3.bin").read_bytes(),
            vek=(SNP / "genoa-v3" / "vcek.pem").read_bytes(),
            chain=chain("genoa"), crl=None, at=datetime(2026, 11, 20, tzinfo=UTC),
        )  # fmt: skip
    assert caught.value.code == "snp.report_signature"


# What the page for people lists.


def rows(first, last):
    part = PAGE.split(first)[1].split(last)[0]
    return [cell.strip() for cell in re.findall(r"^\| (snp [^|]+) \|", part, re.MULTILINE)]


def test_the_page_lists_every_check_in_its_order():
    listed = rows("## What is checked, in this order", "## What a policy demands")
    assert listed == [spec.name for spec in SNP_FACTORS]


def test_the_page_lists_every_factor_and_key_of_the_policy():
    floor = {"bootloader": 1, "tee": 0, "snp": 1, "microcode": 1}
    whole = read(
        {"min_tcb": {"Genoa": floor}, "host_data": ["11" * 31 + "22"],
         "id_key_digests": [bytes(range(48)).hex()], "author_key_digests": [bytes(range(48)).hex()]}
    )  # fmt: skip
    listed = rows("## What a policy demands", "## Milan")
    named = [name for row in listed for name in row.split(", ")]
    assert sorted(named) == sorted(spec.name for spec in whole.factors("sev-snp"))
    assert all(f"`{key}`" in PAGE for key in KEYS)
