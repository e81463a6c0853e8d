"""Run a manifest's Azure cases through the product's own checks.

A case is the JSON that guest agents write ("hcl_report", "tpm_quote", "vcek" or "td_quote"),
or the same things as files. Values may be raw, hex, base64, PEM or lists of numbers. Where a
case has no AMD chain, the one of the repository's own vectors is used; it is checked like any
other. Evidence of other products does not derive the TPM's nonce as ours does, so the steps
are taken one by one, and the nonce is compared with the one that the case names.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import evidence_snp
import evidence_tdx
from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.azure.hcl import HclReport, Runtime
from confide.attest.platforms.azure.tpm_quote import TpmQuote, check_pcrs, check_tpm_signature
from confide.attest.platforms.azure.verifier import check_runtime_digest
from confide.attest.platforms.snp.report import SnpReport
from confide.attest.platforms.snp.verifier import SNP_FACTORS, SnpVerifier
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.signature import check_signature
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, authenticate_quote
from confide.attest.strict_json import read_object
from confide.errors import AppraisalError, EvidenceError
from confide.wire.strict_json import b64url
from evidence_manifest import MAX_FILE, CaseFiles
from evidence_text import binary
from vector_values import Mismatch

__all__ = ["run", "run_hcl"]

_ROOTS: Final = Path(__file__).parent.parent / "tests/vectors/attestation/snp/roots"
_SNP: Final = 2
_SHOWN_USER_DATA: Final = 64

Parts = Mapping[str, Any]


def run(case: CaseFiles) -> Mapping[str, Any]:
    """Check hardware report, runtime document and TPM quote; return what they say."""
    parts = _parts(case)
    hcl = HclReport.parse(_bytes(parts["hcl_report"]))
    if hcl.kind == _SNP:
        facts, report_data = _check_snp(case, parts, hcl)
    else:
        facts, report_data = _check_tdx(case, parts)
    check_runtime_digest(hcl.runtime, report_data)
    runtime = Runtime.parse(hcl.runtime)
    facts |= {
        "user_data": runtime.user_data.hex()[:_SHOWN_USER_DATA],
        "vm": dict(runtime.vm),
    }
    if "tpm_quote" in parts:
        facts |= _check_tpm(case, parts["tpm_quote"], runtime)
    return facts


def run_hcl(case: CaseFiles) -> Mapping[str, Any]:
    """Check the paravisor's report with certificates given as files. As `run`."""
    return run(case)


def _check_snp(case: CaseFiles, parts: Parts, hcl: HclReport) -> tuple[dict[str, Any], bytes]:
    product = SnpReport.parse(hcl.hardware).product or "Milan"
    chain = parts.get("chain") or (_ROOTS / f"{product.lower()}.pem").read_bytes()
    stapled = {"vek": b64url(_bytes(parts["vcek"])), "chain": b64url(_bytes(chain))}
    if "crl" in parts:
        stapled["crl"] = b64url(_bytes(parts["crl"]))
    genuine = SnpVerifier().authenticate(
        hcl.hardware,
        aux={},
        endorsements=StapledEndorsements({"snp": stapled}),
        sheet=FactorSheet(SNP_FACTORS),
        at=case.at,
    )
    if genuine.claims["debuggable"]:
        raise AppraisalError("debuggable", expected=False, actual=True, code="snp.debug_allowed")
    return evidence_snp.show(genuine.claims), genuine.report_data


def _check_tdx(case: CaseFiles, parts: Parts) -> tuple[dict[str, Any], bytes]:
    raw = _bytes(parts["td_quote"])
    if "collateral" not in parts:
        signed = check_signature(Quote.parse(raw), at=case.at)
        evidence_tdx.apply_base_policy(signed.quote)
        facts = {**evidence_tdx.show_quote(signed.quote), "fmspc": signed.platform.fmspc.hex()}
        return facts, signed.quote.report.report_data
    stapled = {"collateral": b64url(_bytes(parts["collateral"]))}
    genuine = authenticate_quote(
        raw,
        aux={},
        endorsements=StapledEndorsements({"tdx": stapled}),
        sheet=FactorSheet(TDX_FACTORS),
        at=case.at,
    )
    evidence_tdx.apply_base_policy(genuine.signed.quote)
    return evidence_tdx.show(genuine), genuine.signed.quote.report.report_data


def _check_tpm(case: CaseFiles, quote: Parts, runtime: Runtime) -> dict[str, Any]:
    message = _bytes(quote["message"])
    check_tpm_signature(runtime.attestation_key, _bytes(quote["signature"]), message)
    found = TpmQuote.parse(message)
    expected = case.case.get("nonce")
    if expected is not None and not hmac.compare_digest(found.nonce, _bytes(expected)):
        raise EvidenceError("the TPM quote answers another nonce", code="azure.tpm_nonce")
    pcrs = quote["pcrs"]
    raw = b"".join(map(_bytes, pcrs)) if isinstance(pcrs, list) else _bytes(pcrs)
    return {
        "nonce": found.nonce.hex(),
        "pcrs": [value.hex() for value in check_pcrs(raw, found)],
    }


def _parts(case: CaseFiles) -> Parts:
    """Give the parts of a case the names that the JSON uses."""
    if "evidence_json" in case.files:
        document = read_object(case.one("evidence_json"), limit=MAX_FILE)
        inner = document.get("evidence", document)
        if not isinstance(inner, dict):
            raise EvidenceError("evidence is no object", code="envelope.json")
        parts = dict(inner)
    else:
        parts = {}
    renamed = {"hcl": "hcl_report", "leaf": "vcek", "quote": "td_quote"}
    for role, contents in case.files.items():
        if role != "evidence_json":
            parts[renamed.get(role, role)] = contents[0]
    if "hcl_report" not in parts:
        raise Mismatch("the case has no report of the paravisor")
    return parts


def _bytes(value: Any) -> bytes:
    if isinstance(value, list):
        return bytes(value)
    return binary(value.encode() if isinstance(value, str) else value)
