"""Run a manifest's TDX cases through the product's own verifier.

A quote may be raw, hex or base64, or the member "quote" of the JSON that dstack writes. A
case without collateral is checked up to the signature of the quote and its event log.
Collateral is one JSON, or the answers of Intel's service as files: "tcb_info", "qe_identity",
"pck_crl", "root_ca_crl" and "tcb_signing_chain". The
base policy refuses TDs that are debuggable, profilable, migratable or bound to a service
TD; Intel's status is a fact, which a policy file judges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from confide.attest.claims import Claims
from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.tdx.eventlog import check_log
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.requirements import ServiceTd, TdAttributes
from confide.attest.platforms.tdx.signature import check_signature
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, Genuine, authenticate_quote
from confide.attest.policy import NotDebuggable
from confide.wire.strict_json import b64url
from evidence_manifest import CaseFiles
from evidence_text import binary

__all__ = ["apply_base_policy", "run", "show", "show_quote"]

_DEBUG = 0x01
_PEM_BEGIN = "-----BEGIN CERTIFICATE-----"


def run(case: CaseFiles) -> Mapping[str, Any]:
    """Authenticate the quote as far as the case's files allow, and apply the base policy."""
    raw = _quote(case)
    log = None if case.eventlog is None else _log(case.eventlog)
    collateral = _collateral(case, raw)
    if collateral is None:
        signed = check_signature(Quote.parse(raw), at=case.at)
        if log is not None:
            check_log(log, signed.quote.report.rtmrs)
        apply_base_policy(signed.quote)
        return {**show_quote(signed.quote), "fmspc": signed.platform.fmspc.hex()}
    genuine = authenticate_quote(
        raw,
        aux={} if log is None else {"eventlog": log},
        endorsements=StapledEndorsements({"tdx": {"collateral": b64url(collateral)}}),
        sheet=FactorSheet(TDX_FACTORS),
        at=case.at,
    )
    apply_base_policy(genuine.signed.quote)
    return show(genuine)


def show(genuine: Genuine) -> dict[str, Any]:
    """Write a quote and what Intel says of its platform the way manifests write facts."""
    verdict = genuine.checked.verdict
    return {
        **show_quote(genuine.signed.quote),
        "fmspc": genuine.signed.platform.fmspc.hex(),
        "status": verdict.status,
        "status_parts": list(verdict.parts),
        "advisories": list(verdict.advisories),
        "tcb_date": verdict.date,
    }


def show_quote(quote: Quote) -> dict[str, Any]:
    """Write a quote the way manifests write facts."""
    report = quote.report
    return {
        "version": quote.version,
        "body_type": quote.body_type,
        "trailing_zero_bytes": quote.trailing,
        **{f"rtmr{number}": value.hex() for number, value in enumerate(report.rtmrs)},
        **{name: value.hex() for name, value in vars(report).items() if isinstance(value, bytes)},
    }


def apply_base_policy(quote: Quote) -> None:
    """Refuse what no policy of this product accepts.

    Raises:
        AppraisalError: tdx.debug, .tud_bits, .migratable or .service_td.
    """
    attributes = int.from_bytes(quote.report.td_attributes, "little")
    claims = Claims(
        {
            "platform": "tdx",
            "debuggable": bool(attributes & _DEBUG),
            "td_attributes": attributes,
            "mr_service_td": quote.report.service_td,
        }
    )
    for leaf in (NotDebuggable(), TdAttributes(), ServiceTd()):
        for objection in leaf.objections(claims):
            raise objection


def _collateral(case: CaseFiles, quote: bytes) -> bytes | None:
    """Return the collateral in the form of the product, put together if it is in parts."""
    if "collateral" in case.files:
        return case.one("collateral")
    if "tcb_info" not in case.files:
        return None
    signing = case.one("tcb_signing_chain").decode("ascii")
    chain = Quote.parse(quote).pck_chain.decode("ascii", "replace")
    members = {
        # The list's issuer is the second certificate of the quote's own chain.
        "pck_crl_issuer_chain": chain[chain.index(_PEM_BEGIN, 1) :].rstrip("\0"),
        "tcb_info_issuer_chain": signing,
        "qe_identity_issuer_chain": signing,
        **{name: binary(case.one(name)).hex() for name in ("pck_crl", "root_ca_crl")},
    }
    for name, member in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
        members[name], members[f"{name}_signature"] = _signed(case.one(name).decode(), member)
    return json.dumps(members).encode()


def _signed(answer: str, member: str) -> tuple[str, str]:
    """Return the exact text that was signed, and the signature."""
    start = answer.index("{", answer.index(f'"{member}"'))
    _, end = json.JSONDecoder().raw_decode(answer, start)
    return answer[start:end], json.loads(answer)["signature"]


def _quote(case: CaseFiles) -> bytes:
    if "quote_json" in case.files:
        return binary(str(json.loads(case.one("quote_json"))["quote"]).encode())
    return binary(case.one("quote"))


def _log(content: bytes) -> bytes:
    """Take the log out of dstack's JSON, where it is a text that holds JSON."""
    if content.lstrip()[:1] != b"{":
        return content
    try:
        log = json.loads(content)["event_log"]
    except (ValueError, KeyError):
        # The product is to say what is wrong with it.
        return content
    return (log if isinstance(log, str) else json.dumps(log)).encode()
