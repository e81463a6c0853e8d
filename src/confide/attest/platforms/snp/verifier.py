"""SEV-SNP as a platform of the verifier: finds certificates, runs the chain, fills the sheet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from confide.attest.endorsements import EndorsementSource
from confide.attest.factors import FactorSheet, FactorSpec, Owner
from confide.attest.platform import Authenticated, Processor
from confide.attest.platforms.snp.chain import ROOTS, Genuine
from confide.attest.platforms.snp.report import Signer, SnpReport
from confide.attest.platforms.snp.search import find_genuine
from confide.errors import AttestationError

__all__ = ["SNP_FACTORS", "SnpVerifier", "authenticate_with"]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_FETCH: Final = "confide endorsements fetch --help"

_FOUND: Final = "snp certificates found"
_LIST: Final = "snp revocation list"
_CHECKS: Final = (
    ("snp report form", Owner.CLOUD, _ASK, {"report_size", "report_version", "sig_algo"}),
    ("snp unsigned bytes", Owner.CLOUD, _ASK, {"signature_padding"}),
    ("snp signing key", Owner.CLOUD, _ASK, {"signing_key"}),
    (_FOUND, Owner.NETWORK, _FETCH, set[str]()),
    ("snp root pinned", Owner.CHIP_VENDOR, _ASK, {"root_not_pinned"}),
    ("snp certificate chain", Owner.CHIP_VENDOR, _FETCH, {"chain_signature"}),
    ("snp certificate dates", Owner.CHIP_VENDOR, _FETCH, {"cert_expired"}),
    (_LIST, Owner.CHIP_VENDOR, _FETCH, {"crl_signature", "crl_expired", "collateral.rollback"}),
    ("snp not revoked", Owner.CHIP_VENDOR, _ASK, {"revoked"}),
    ("snp report signature", Owner.CLOUD, _ASK, {"report_signature"}),
    ("snp product", Owner.CLOUD, _ASK, {"product_mismatch"}),
    ("snp firmware in certificate", Owner.CLOUD, _FETCH, {"tcb_cert_mismatch"}),
    ("snp chip in certificate", Owner.CLOUD, _FETCH, {"chip_id_mismatch"}),
    ("snp requested by guest", Owner.CLOUD, _ASK, {"vmpl"}),
)
"""In the order they are made; a refusal leaves the later ones unexamined."""

SNP_FACTORS: Final = tuple(
    FactorSpec(name, owner, next_command=command) for name, owner, command, _ in _CHECKS
)


class SnpVerifier:
    """Checks SEV-SNP reports under AMD's roots.

    Args:
        roots: Accepted roots by fingerprint. Anything but the default is for tests.
    """

    type = "sev-snp"
    processor = Processor.CPU
    factors = SNP_FACTORS

    def __init__(self, *, roots: Mapping[bytes, str] = ROOTS) -> None:
        self._roots = roots

    def authenticate(
        self,
        report: bytes,
        *,
        aux: Mapping[str, bytes],  # noqa: ARG002 - a report needs no further parts
        endorsements: EndorsementSource,
        sheet: FactorSheet,
        at: datetime,
    ) -> Authenticated:
        """Check a report up to AMD's root. See `EvidenceVerifier.authenticate`.

        Raises:
            AttestationError: snp.* of `authenticate_report`, or collateral.*.
        """
        genuine = authenticate_with(
            report, endorsements=endorsements, sheet=sheet, at=at, roots=self._roots
        )
        return Authenticated(
            claims=genuine.claims(),
            report_data=genuine.report.report_data,
            expires_at=genuine.expires_at,
            summary=f"AMD SEV-SNP report, {genuine.product}, signed by a {genuine.report.signer}",
        )


def authenticate_with(
    raw: bytes,
    *,
    endorsements: EndorsementSource,
    sheet: FactorSheet,
    at: datetime,
    roots: Mapping[bytes, str] = ROOTS,
) -> Genuine:
    """Find certificates and list, check the report with them, and fill the sheet.

    Raises:
        AttestationError: As `SnpVerifier.authenticate`.
    """
    try:
        report = SnpReport.parse(raw)
        genuine = find_genuine(report, endorsements, at, roots)
    except AttestationError as error:
        _show_refusal(sheet, error, _factor_of(error.code))
        raise
    _show_acceptance(sheet, genuine)
    return genuine


def _factor_of(code: str) -> str:
    """Return the factor that a refusal belongs to; what is no check is about finding."""
    ours = code.removeprefix("snp.")
    return next((name for name, _, _, codes in _CHECKS if ours in codes), _FOUND)


def _show_refusal(sheet: FactorSheet, error: AttestationError, failed: str) -> None:
    """Mark every check that held, and the one that refused."""
    for name, *_ in _CHECKS:
        if name == failed:
            sheet.mark_failed(name, str(error))
            return
        sheet.passed(name, "holds")


def _show_acceptance(sheet: FactorSheet, genuine: Genuine) -> None:
    other: dict[str, str] = {}
    if not genuine.crl_checked:
        other |= {_LIST: "none was found; the policy decides", "snp not revoked": "no list"}
    if genuine.report.signer is Signer.VLEK:
        other["snp chip in certificate"] = "a VLEK is a cloud's, not a chip's"
    for name, *_ in _CHECKS:
        if name in other:
            sheet.not_applicable(name, other[name])
        else:
            sheet.passed(name, "holds")
