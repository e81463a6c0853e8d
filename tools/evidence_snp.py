"""Run a manifest's SEV-SNP cases through the product's own verifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.snp.verifier import SNP_FACTORS, SnpVerifier
from confide.errors import AppraisalError
from confide.wire.strict_json import b64url
from evidence_manifest import CaseFiles
from evidence_text import binary

__all__ = ["run", "show"]


def run(case: CaseFiles) -> Mapping[str, Any]:
    """Authenticate the report; the base policy refuses a debuggable guest."""
    stapled = {"vek": b64url(case.one("leaf")), "chain": b64url(case.one("chain"))}
    if "crl" in case.files:
        stapled["crl"] = b64url(case.one("crl"))
    genuine = SnpVerifier().authenticate(
        binary(case.one("report")),
        aux={},
        endorsements=StapledEndorsements({"snp": stapled}),
        sheet=FactorSheet(SNP_FACTORS),
        at=case.at,
    )
    claims = genuine.claims
    if claims["debuggable"]:
        raise AppraisalError("debuggable", expected=False, actual=True, code="snp.debug_allowed")
    return {**show(claims), "report_data": genuine.report_data.hex()}


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
        "vcek_product": claims["certificate_product"],
        "reported_tcb": dict(claims["tcb"]),
        "committed_tcb": dict(claims["tcb_committed"]),
        "launch_tcb": dict(claims["tcb_launch"]),
    }
