"""Run a manifest's SEV-SNP cases through the product's own verifier.

A report without a certificate is parsed and nothing more; that shows fields, not genuineness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.snp.report import SnpReport
from confide.attest.platforms.snp.verifier import SNP_FACTORS, SnpVerifier
from confide.errors import AppraisalError
from confide.wire.strict_json import b64url
from evidence_manifest import CaseFiles
from evidence_text import binary, der_or_pem, pem
from vector_values import Mismatch

__all__ = ["run", "show"]


def run(case: CaseFiles) -> Mapping[str, Any]:
    """Authenticate the report; the base policy refuses a debuggable guest.

    Raises:
        Mismatch: A verdict about genuineness is asked for, and there is no certificate.
    """
    if _leaf(case) is None:
        if not case.unsigned:
            raise Mismatch("the case has no certificate to verify the report with")
        return _parsed(SnpReport.parse(binary(case.one("report"))))
    genuine = SnpVerifier().authenticate(
        binary(case.one("report")),
        aux={},
        endorsements=StapledEndorsements({"snp": _staple(case)}),
        sheet=FactorSheet(SNP_FACTORS),
        at=case.at,
    )
    claims = genuine.claims
    if claims["debuggable"]:
        raise AppraisalError("debuggable", expected=False, actual=True, code="snp.debug_allowed")
    return {**show(claims), "report_data": genuine.report_data.hex()}


def _leaf(case: CaseFiles) -> str | None:
    return next((role for role in ("leaf", "vek", "vcek", "vlek") if role in case.files), None)


def _parsed(report: SnpReport) -> Mapping[str, Any]:
    """Show the fields; the generation is that of the processor's model, if the report says it."""
    facts = show({"certificate_product": report.product, **report.claims(report.product or "")})
    return {**facts, "report_data": report.report_data.hex()}


def _staple(case: CaseFiles) -> dict[str, str]:
    leaf = _leaf(case) or ""
    parts = case.files.get("chain") or (*case.files["ask"], *case.files["ark"])
    staple = {
        "vek": der_or_pem(case.one(leaf)),
        "chain": b"".join(pem(part) for part in parts),
    }
    if "crl" in case.files:
        staple["crl"] = der_or_pem(case.one("crl"))
    return {part: b64url(content) for part, content in staple.items()}


def show(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Write claims the way manifests write facts."""
    shown = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in claims.items()
    }
    return {
        **shown,
        "cpuid": list(claims.get("cpuid", ())),
        "version": claims["report_version"],
        "policy": hex(claims["policy"]),
        "platform_info": hex(claims["platform_info"]),
        "signing_key": claims["signer"],
        "launch_mit_vector": hex(claims.get("mitigations_launch", 0)),
        "current_mit_vector": hex(claims.get("mitigations_current", 0)),
        "vcek_product": claims["certificate_product"],
        "reported_tcb": dict(claims["tcb"]),
        "committed_tcb": dict(claims["tcb_committed"]),
        "launch_tcb": dict(claims["tcb_launch"]),
    }
