"""SEV-SNP as a platform of the verifier: finds certificates, runs the chain, fills the sheet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from confide.attest.endorsements import (
    Endorsement,
    EndorsementKey,
    EndorsementSource,
    first_valid,
)
from confide.attest.factors import FactorSheet, FactorSpec, Owner
from confide.attest.platform import Authenticated, Processor
from confide.attest.platforms.snp.chain import ROOTS, Genuine, authenticate_report
from confide.attest.platforms.snp.report import Signer, SnpReport
from confide.errors import AttestationError

__all__ = ["SNP_FACTORS", "SnpVerifier", "authenticate_with"]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_FETCH: Final = "confide endorsements fetch --help"

_CHECKS: Final = (
    ("snp report form", Owner.CLOUD, _ASK, {"report_size", "report_version", "sig_algo"}),
    ("snp unsigned bytes", Owner.CLOUD, _ASK, {"signature_padding"}),
    ("snp requested by guest", Owner.CLOUD, _ASK, {"vmpl"}),
    ("snp signing key", Owner.CLOUD, _ASK, {"signing_key"}),
    ("snp root pinned", Owner.CHIP_VENDOR, _ASK, {"root_not_pinned"}),
    ("snp certificate chain", Owner.CHIP_VENDOR, _FETCH, {"chain_signature"}),
    ("snp certificate dates", Owner.CHIP_VENDOR, _FETCH, {"cert_expired"}),
    ("snp revocation list", Owner.CHIP_VENDOR, _FETCH, {"crl_signature", "crl_expired"}),
    ("snp not revoked", Owner.CHIP_VENDOR, _ASK, {"revoked"}),
    ("snp report signature", Owner.CLOUD, _ASK, {"report_signature"}),
    ("snp product", Owner.CLOUD, _ASK, {"product_mismatch"}),
    ("snp firmware in certificate", Owner.CLOUD, _FETCH, {"tcb_cert_mismatch"}),
    ("snp chip in certificate", Owner.CLOUD, _FETCH, {"chip_id_mismatch"}),
)
"""In the order they are made; a refusal leaves the later ones unexamined."""

SNP_FACTORS: Final = tuple(
    FactorSpec(name, owner, next_command=command) for name, owner, command, _ in _CHECKS
)
_PRODUCTS: Final = ("Milan", "Genoa", "Turin")


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
        genuine = _first_genuine(raw, endorsements, at, roots)
    except AttestationError as error:
        _show(sheet, error)
        raise
    _show(sheet, None)
    if not genuine.crl_checked:
        sheet.not_applicable("snp revocation list", "none was found; the policy decides")
        sheet.not_applicable("snp not revoked", "no revocation list")
    if genuine.report.signer is Signer.VLEK:
        sheet.not_applicable("snp chip in certificate", "a VLEK is a cloud's, not a chip's")
    return genuine


def _first_genuine(
    raw: bytes, source: EndorsementSource, at: datetime, roots: Mapping[bytes, str]
) -> Genuine:
    report = SnpReport.parse(raw)
    products = _PRODUCTS if report.product is None else (report.product,)
    refusal: AttestationError | None = None
    for product in products:
        try:
            return _of_product(report, product, source, at, roots)
        except AttestationError as error:
            refusal = _more_telling(refusal, error)
    raise refusal or AttestationError("no product was tried")


def _more_telling(first: AttestationError | None, second: AttestationError) -> AttestationError:
    """Of two refusals, keep the one that got further than finding nothing."""
    if first is None or first.code == "collateral.missing":
        return second
    return first


def _of_product(
    report: SnpReport,
    product: str,
    source: EndorsementSource,
    at: datetime,
    roots: Mapping[bytes, str],
) -> Genuine:
    vlek = report.signer is Signer.VLEK
    tcb = report.reported_tcb.hex()
    leaf_of = f"{product}/vlek/{tcb}" if vlek else f"{product}/{report.chip_id.hex()}/{tcb}"

    def with_list(vek: Endorsement, chain: Endorsement, crl: bytes | None) -> Genuine:
        genuine = authenticate_report(
            report.raw, vek=vek.content, chain=chain.content, crl=crl, at=at, roots=roots
        )
        for fact in genuine.facts:
            source.saw(fact)  # an older list is refused here, so that the next one is tried
        return genuine

    def with_chain(vek: Endorsement, chain: Endorsement) -> Genuine:
        key = EndorsementKey("snp/crl", product)
        if not source.find(key):
            return with_list(vek, chain, None)
        return first_valid(source, key, lambda crl: with_list(vek, chain, crl.content))

    def with_vek(vek: Endorsement) -> Genuine:
        key = EndorsementKey("snp/chain", f"{product}/vlek" if vlek else product)
        return first_valid(source, key, lambda chain: with_chain(vek, chain))

    return first_valid(source, EndorsementKey("snp/vek", leaf_of), with_vek)


def _show(sheet: FactorSheet, error: AttestationError | None) -> None:
    """Mark every check that held, and the one that refused."""
    refused = None if error is None else error.code.removeprefix("snp.")
    for name, _, _, codes in _CHECKS:
        if error is not None and refused in codes:
            sheet.mark_failed(name, str(error))
            return
        if error is not None and error.code == "collateral.missing" and name == "snp root pinned":
            sheet.mark_failed(name, str(error), next_command=_FETCH)
            return
        sheet.passed(name, "holds")
