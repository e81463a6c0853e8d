"""Intel TDX: quote, collateral, what Intel's documents say, event logs."""

from __future__ import annotations

import json
from functools import cache

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.tdx.chain import read_chain
from confide.attest.platforms.tdx.eventlog import check_log, read_log
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.search import find_collateral
from confide.attest.platforms.tdx.signature import SignedQuote, check_signature
from confide.attest.platforms.tdx.tcb import match_tcb
from confide.attest.platforms.tdx.verifier import TDX_FACTORS, TdxVerifier
from confide.attest.strict_json import read_object
from confide.wire.strict_json import b64url
from fuzz.oracle import Target
from fuzz.vectors import binary, read, read_json, utc

_AT = utc("2026-03-17T12:00:00")
_PACKAGE = "confide.attest.platforms.tdx"
_CCEL = "tdx/v4-ccel/ccel.bin"


@cache
def _signed() -> SignedQuote:
    return check_signature(Quote.parse(read("tdx/v5-uptodate/quote.bin")), at=_AT)


def _quote(raw: bytes) -> object:
    return check_signature(Quote.parse(raw), at=_AT)


def _collateral(raw: bytes) -> object:
    staple = StapledEndorsements({"tdx": {"collateral": b64url(raw)}})
    return find_collateral(_signed(), staple, at=_AT)


def _documents(raw: bytes) -> object:
    """Match with documents that nobody signed: Intel's own must not crash a client either."""
    both = read_object(raw, limit=1024 * 1024)
    tcb_info, qe_identity = (
        found if isinstance(found := both.get(name), dict) else {}
        for name in ("tcb_info", "qe_identity")
    )
    quote = _signed().quote
    return match_tcb(
        tcb_info,
        qe_identity,
        platform=_signed().platform,
        report=quote.report,
        qe_report=quote.qe_report,
    )


def _evidence(raw: bytes) -> object:
    collateral = b64url(read("tdx/v5-uptodate/collateral.json"))
    return TdxVerifier().authenticate(
        raw,
        aux={"eventlog": read(_CCEL)},
        endorsements=StapledEndorsements({"tdx": {"collateral": collateral}}),
        sheet=FactorSheet(TDX_FACTORS),
        at=_AT,
    )


def _log(raw: bytes) -> object:
    read_log(raw)
    return check_log(raw, Quote.parse(read("tdx/v4-ccel/quote.bin")).report.rtmrs)


def _json_log() -> bytes:
    log = read_json("tdx/v4-eventlog-json/quote-report.json")["event_log"]
    return log.encode() if isinstance(log, str) else json.dumps(log).encode()


def targets() -> list[Target]:
    """Return the targets of this platform."""
    collateral = read_json("tdx/v5-uptodate/collateral.json")
    documents = {name: json.loads(collateral[name]) for name in ("tcb_info", "qe_identity")}
    quotes = (
        read("tdx/v5-uptodate/quote.bin"),
        read("tdx/v4-ccel/quote.bin"),
        read("tdx/v4-debug/quote.bin"),
        binary(read_json("tdx/v4-eventlog-json/quote-report.json")["quote"]),
    )
    return [
        Target(
            "tdx-quote",
            _quote,
            (*quotes, read("tdx/sgx/quote.bin")),
            (
                f"{_PACKAGE}.quote:Quote.parse",
                f"{_PACKAGE}.quote:TdReport.parse",
                f"{_PACKAGE}.signature:check_signature",
            ),
        ),
        Target(
            "tdx-chain",
            read_chain,
            (_signed().quote.pck_chain, collateral["tcb_info_issuer_chain"].encode()),
            (f"{_PACKAGE}.chain:read_chain",),
        ),
        Target(
            "tdx-collateral",
            _collateral,
            (read("tdx/v5-uptodate/collateral.json"), read("tdx/v4-uptodate/collateral.json")),
            (f"{_PACKAGE}.collateral:Collateral.parse", f"{_PACKAGE}.collateral:check_signed"),
        ),
        Target(
            "tdx-documents",
            _documents,
            (json.dumps(documents).encode(),),
            (f"{_PACKAGE}.tcb:match_tcb",),
        ),
        Target(
            "tdx-event-log",
            _log,
            (read(_CCEL), _json_log(), read("tdx/v4-ccel-2/ccel.bin")),
            (f"{_PACKAGE}.eventlog:read_log", f"{_PACKAGE}.eventlog:check_log"),
        ),
        Target(
            "tdx-evidence",
            _evidence,
            quotes,
            (
                f"{_PACKAGE}.verifier:TdxVerifier.authenticate",
                f"{_PACKAGE}.verifier:authenticate_quote",
            ),
            accepts="tdx.eventlog_mismatch",
        ),
    ]
