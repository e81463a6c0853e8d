"""AMD SEV-SNP: report, certificates, revocation list, the host's certificate table."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FactorSheet
from confide.attest.platforms.snp.certificate_table import ASK, VCEK, parse_certificate_table
from confide.attest.platforms.snp.certificates import AmdCertificate, der_blocks
from confide.attest.platforms.snp.chain import authenticate_report
from confide.attest.platforms.snp.report import SnpReport
from confide.attest.platforms.snp.verifier import SNP_FACTORS, SnpVerifier
from confide.wire.strict_json import b64url
from fuzz.oracle import Target
from fuzz.vectors import read, utc

_AT = utc("2026-01-01T00:00:00")
_PACKAGE = "confide.attest.platforms.snp"


def _report(raw: bytes) -> object:
    report = SnpReport.parse(raw)
    return report.claims(report.product or "Milan"), report.signature, report.firmware


def _part(name: str, parts: dict[str, bytes]) -> Callable[[bytes], object]:
    def call(raw: bytes) -> object:
        given = parts | {name: raw}
        return authenticate_report(
            given["report"], vek=given["vek"], chain=given["chain"], crl=given["crl"], at=_AT
        )

    return call


def _evidence(parts: dict[str, bytes]) -> Callable[[bytes], object]:
    stapled = {name: b64url(parts[name]) for name in ("vek", "chain", "crl")}

    def call(raw: bytes) -> object:
        return SnpVerifier().authenticate(
            raw,
            aux={},
            endorsements=StapledEndorsements({"snp": stapled}),
            sheet=FactorSheet(SNP_FACTORS),
            at=_AT,
        )

    return call


def _table() -> bytes:
    entries = ((VCEK, read("snp/milan-v2/vcek.der")), (ASK, b"authority"))
    head, body = b"", b""
    for name, content in entries:
        at = 24 * (len(entries) + 1) + len(body)
        head += uuid.UUID(name).bytes_le + at.to_bytes(4, "little")
        head += len(content).to_bytes(4, "little")
        body += content
    return head + bytes(24) + body


def targets() -> list[Target]:
    """Return the targets of this platform."""
    parts = {
        "report": read("snp/milan-v2/report.bin"),
        "vek": read("snp/milan-v2/vcek.der"),
        "chain": read("snp/roots/milan.pem"),
        "crl": read("snp/crl/milan.crl.der"),
    }
    reports = tuple(
        read(f"snp/{name}")
        for name in (
            "milan-v2/report.bin",
            "genoa-v3/report.bin",
            "milan-v3-vlek/report.bin",
            "parse-only/gce-milan-v4.bin",
            "parse-only/milan-v5.bin",
        )
    )
    leaves = (parts["vek"], read("snp/genoa-v5/vcek.der"), read("snp/milan-v3-vlek/vlek.der"))
    chains = (parts["chain"], read("snp/roots/turin.pem"), read("snp/roots/milan-vlek.pem"))
    return [
        Target("snp-report", _report, reports, (f"{_PACKAGE}.report:SnpReport.parse",)),
        Target(
            "snp-certificate",
            AmdCertificate.parse,
            (*leaves, *(der_blocks(one)[0] for one in chains)),
            (f"{_PACKAGE}.certificates:AmdCertificate.parse",),
        ),
        Target(
            "snp-leaf",
            _part("vek", parts),
            (*leaves, read("snp/milan-v3/vcek.pem")),
            (f"{_PACKAGE}.certificates:der_blocks", f"{_PACKAGE}.chain:read_leaf"),
        ),
        Target(
            "snp-chain",
            _part("chain", parts),
            chains,
            (f"{_PACKAGE}.chain:Authority.read", f"{_PACKAGE}.chain:authenticate_report"),
        ),
        Target(
            "snp-crl",
            _part("crl", parts),
            (parts["crl"], read("snp/crl/milan.crl.pem"), read("snp/crl/genoa.crl.der")),
            (f"{_PACKAGE}.revocation:RevocationList.read",),
        ),
        Target(
            "snp-certificate-table",
            parse_certificate_table,
            (_table(), bytes(24)),
            (f"{_PACKAGE}.certificate_table:parse_certificate_table",),
        ),
        Target(
            "snp-evidence",
            _evidence(parts),
            reports,
            (
                f"{_PACKAGE}.verifier:SnpVerifier.authenticate",
                f"{_PACKAGE}.verifier:authenticate_with",
            ),
        ),
    ]
