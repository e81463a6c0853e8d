"""Azure: the paravisor's report, its runtime document, the quote of the virtual TPM."""

from __future__ import annotations

from functools import cache

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.azure.hcl import HclReport, Runtime
from confide.attest.platforms.azure.tpm_quote import TpmQuote, check_pcrs, check_tpm_signature
from confide.attest.platforms.azure.verifier import AzureSnpVerifier
from confide.wire.strict_json import b64url
from fuzz.oracle import Target
from fuzz.vectors import binary, read, read_json, utc

_AT = utc("2026-11-20T00:00:00")
_PACKAGE = "confide.attest.platforms.azure"


@cache
def _recorded() -> dict[str, bytes]:
    document = read_json("azure/milan-v3/evidence.json")
    parts = document.get("evidence", document)
    quote = parts["tpm_quote"]
    pcrs = quote["pcrs"]
    return {
        "hcl": binary(parts["hcl_report"]),
        "vcek": binary(parts["vcek"]),
        "message": binary(quote["message"]),
        "signature": binary(quote["signature"]),
        "pcrs": b"".join(map(binary, pcrs)) if isinstance(pcrs, list) else binary(pcrs),
    }


def _report(raw: bytes) -> object:
    return Runtime.parse(HclReport.parse(raw).runtime)


def _quote(raw: bytes) -> object:
    return check_pcrs(_recorded()["pcrs"], TpmQuote.parse(raw))


def _signature(raw: bytes) -> None:
    runtime = Runtime.parse(HclReport.parse(_recorded()["hcl"]).runtime)
    check_tpm_signature(runtime.attestation_key, raw, _recorded()["message"])


def _evidence(raw: bytes) -> object:
    """Take the runtime document from hostile bytes; the rest is genuine."""
    parts = _recorded()
    stapled = {"vek": b64url(parts["vcek"]), "chain": b64url(read("snp/roots/milan.pem"))}
    verifier = AzureSnpVerifier()
    return verifier.authenticate(
        HclReport.parse(parts["hcl"]).hardware,
        aux={
            "hcl_runtime": raw,
            "tpm_message": parts["message"],
            "tpm_signature": parts["signature"],
            "tpm_pcrs": parts["pcrs"],
        },
        endorsements=StapledEndorsements({"snp": stapled}),
        sheet=FactorSheet(verifier.factors),
        at=_AT,
    )


def targets() -> list[Target]:
    """Return the targets of this platform."""
    reports = (_recorded()["hcl"], read("azure/genoa-v3/hcl-report.bin"))
    runtimes = tuple(HclReport.parse(one).runtime for one in reports)
    return [
        Target("azure-hcl", _report, reports, (f"{_PACKAGE}.hcl:HclReport.parse",)),
        Target("azure-runtime", Runtime.parse, runtimes, (f"{_PACKAGE}.hcl:Runtime.parse",)),
        Target(
            "azure-tpm-quote",
            _quote,
            (_recorded()["message"],),
            (f"{_PACKAGE}.tpm_quote:TpmQuote.parse", f"{_PACKAGE}.tpm_quote:check_pcrs"),
        ),
        Target(
            "azure-tpm-signature",
            _signature,
            (_recorded()["signature"],),
            (f"{_PACKAGE}.tpm_quote:check_tpm_signature",),
        ),
        Target(
            "azure-evidence",
            _evidence,
            runtimes,
            (
                f"{_PACKAGE}.verifier:check_runtime_digest",
                f"{_PACKAGE}.verifier:_AzureVerifier.authenticate",
            ),
            accepts="azure.tpm_nonce",
        ),
    ]
