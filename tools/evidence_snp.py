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
from evidence_text import binary, der_or_pem, pem

__all__ = ["run", "show"]


def run(case: CaseFiles) -> Mapping[str, Any]:
    """Authenticate the report; the base policy refuses a debuggable guest."""
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


def _staple(case: CaseFiles) -> dict[str, str]:
    leaf = next(role for role in ("leaf", "vek", "vcek", "vlek") if role in case.files)
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
