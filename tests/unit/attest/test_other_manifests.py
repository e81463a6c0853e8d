"""Manifests with other roles, forms and verdicts than ours run as well, from the same files."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "vectors" / "attestation"
DOCUMENT = json.loads((FOLDER / "manifest.json").read_text())
HOPPER = "nvidia/hopper-550.90.07/"
DEVICE = {"report": f"{HOPPER}report.hex", "chain": f"{HOPPER}chain.pem"}
RIMS = {"driver_rim": f"{HOPPER}driver-rim.xml", "vbios_rim": f"{HOPPER}vbios-rim.xml"}
ANSWERS = [f"{HOPPER}ocsp/gpu_certificate_l{number}.b64" for number in (2, 3, 4)]
SWITCH = {"report": "nvidia/nvswitch-ls10/report.hex", "chain": "nvidia/nvswitch-ls10/chain.pem"}
IN_DATE = "2025-08-21T12:00:00"


def intel(year, fmspc, quote):
    """Collateral as Intel's service answers, one file each."""
    folder = f"tdx/pcs/{year}"
    return {
        "quote": f"tdx/{quote}/quote.bin",
        "tcb_info": f"{folder}/tcb_info_{fmspc}.json",
        "qe_identity": f"{folder}/td_qe_identity.json",
        "pck_crl": f"{folder}/pck_crl_platform.der",
        "root_ca_crl": f"{folder}/root_ca_crl.der",
        "tcb_signing_chain": "tdx/pcs/2026-03/tcb_signing_chain.pem",
    }


@pytest.fixture(scope="module", autouse=True)
def manifest():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("evidence_manifest")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def check(manifest, platform, files, *, at="2026-11-20T00:00:00", error=None, **others):
    verdict = others.pop("verdict", "invalid" if error else "valid")
    case = {"platform": platform, "files": files, "at": at, "verdict": verdict, "error": error}
    remark = manifest.check_case(DOCUMENT, FOLDER, case | others)
    assert not (remark or "").startswith("facts not compared"), remark


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("gce-milan-v4", {"version": 4, "product": "Milan"}),
        ("genoa-v3", {"version": 3, "product": "Genoa"}),
        ("milan-v5", {"version": 5, "product": "Milan"}),
    ],
)
def test_a_report_without_a_certificate_is_parsed_and_never_called_genuine(manifest, name, facts):
    files = {"report": f"snp/parse-only/{name}.bin"}
    check(manifest, "sev-snp", files, verdict="parse-only", facts=facts)
    with pytest.raises(manifest.Mismatch):
        check(manifest, "sev-snp", files)


def test_lists_in_pem_and_chains_of_another_key(manifest):
    milan = {"report": "snp/milan-v2/report.bin", "leaf": "snp/milan-v2/vcek.der"}
    chain = {"chain": "snp/roots/milan.pem", "crl": "snp/crl/milan.crl.pem"}
    check(manifest, "sev-snp", milan | chain, at="2026-01-01T00:00:00")
    wrong = milan | {"chain": "snp/roots/milan-vlek.pem"}
    check(manifest, "sev-snp", wrong, error="snp.chain_signature")


@pytest.mark.parametrize(
    ("files", "at", "status", "error"),
    [
        (intel("2025-07", "00806f050000", "v4-outofdate"), "2025-07-08T00:00:00", "OutOfDate",
         None),
        (intel("2026-03", "90c06f000000", "v5-uptodate"), "2026-03-17T12:00:00", "UpToDate", None),
        (intel("2023-06", "50806f000000", "v4-debug"), "2026-11-20T00:00:00", None,
         "tdx.*_expired"),
        (intel("2026-03", "50806f000000", "v5-uptodate"), "2026-03-17T12:00:00", None,
         "tdx.fmspc_mismatch"),
    ],
)  # fmt: skip
def test_intels_answers_file_by_file(manifest, files, at, status, error):
    facts = {"status": status} if status else {}
    check(manifest, "tdx", files, at=at, error=error, facts=facts)


def test_an_event_log_may_be_one_of_the_files(manifest):
    quote = {"quote": "tdx/v4-ccel-2/quote.bin"}
    check(manifest, "tdx", quote | {"ccel": "tdx/v4-ccel-2/ccel.bin"}, verdict="signature-only")
    other = quote | {"eventlog": "tdx/v4-ccel-2/ccel-other-boot.bin"}
    check(manifest, "tdx", other, error="tdx.eventlog_mismatch")


def test_an_edit_of_a_file_with_two_roles_is_seen_by_both(manifest):
    edit = {"json-replace": ["event_log", "8ae1e4", "8ae1e5", 1]}
    mutation = {"base": "tdx-v4-eventlog-json", "role": "quote_json", "op": edit}
    manifest.check_mutation(DOCUMENT, FOLDER, mutation | {"error": "tdx.eventlog_mismatch"})


def test_an_edit_may_be_below_other_members(manifest):
    edit = {"json-hex-xor": ["evidence.tpm_quote.message", 60, 1]}
    mutation = {"base": "azure-milan-v3", "role": "evidence_json", "op": edit}
    manifest.check_mutation(DOCUMENT, FOLDER, mutation | {"error": "azure.tpm_signature"})
    for field in ("evidence.none", "evidence.0", "none"):
        with pytest.raises(manifest.Mismatch):
            manifest.mutate(b'{"evidence":["x"]}', {"json-replace": [field + ".y", "a", "b", 1]})


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (DEVICE | {"driver_rim": RIMS["driver_rim"]}, None),
        (DEVICE | {"vbios_rim": RIMS["vbios_rim"]}, None),
        (DEVICE | {"vbios_rim": "nvidia/nvswitch-ls10/bios-rim.xml"}, "rim.*"),
        (DEVICE | RIMS | {"driver_rim": "nvidia/rim/driver-bad-signature.xml"}, "rim.signature"),
        (DEVICE | RIMS | {"driver_rim": "nvidia/rim/driver-untrusted-root.xml"},
         "rim.root_not_pinned"),
        (DEVICE | RIMS | {"driver_rim": "nvidia/rim/driver-535-digest-mismatch.xml"},
         "rim.digest"),
    ],
)  # fmt: skip
def test_manifests_of_a_gpu_one_by_one_and_damaged(manifest, files, error):
    at = "2026-06-01T00:00:00" if "nvswitch" in files.get("vbios_rim", "") else IN_DATE
    check(manifest, "nvidia-gpu", files, rims_at=at, error=error)


@pytest.mark.parametrize("role", ["rim", "bios_rim", "vbios_rim"])
def test_the_manifest_of_a_switch(manifest, role):
    files = SWITCH | {role: "nvidia/nvswitch-ls10/bios-rim.xml"}
    check(manifest, "nvidia-switch", files, facts={"mismatch": []})


def test_manifests_alone(manifest):
    good, bad = (f"nvidia/rim/driver-{name}.xml" for name in ("550.144.03", "bad-signature"))
    check(manifest, "nvidia-rim", {"rim": good}, at=IN_DATE)
    check(manifest, "nvidia-rim", {"rim": bad}, at=IN_DATE, error="rim.signature")


def test_a_gpu_with_answers_is_judged_by_them(manifest):
    files = DEVICE | {"ocsp": ANSWERS}
    check(manifest, "nvidia-gpu", files, at=IN_DATE)
    check(manifest, "nvidia-gpu", files, at="2025-08-23T12:00:00", error="nv.ocsp_expired")
    fewer = DEVICE | {"ocsp": ANSWERS[:2]}
    check(manifest, "nvidia-gpu", fewer, at=IN_DATE, error="nv.ocsp_missing")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("unsigned-local-nvat", "nv.token_alg"),
        ("nras-hopper-v3", "nv.token_signature"),
        ("nras-two-gpus-zero-nonce", "nv.token_signature"),
    ],
)
def test_tokens_of_nvidias_service_whose_keys_are_gone(manifest, name, error):
    check(manifest, "nvidia-eat", {"eat": f"nvidia/eat/{name}.json"}, error=error)
