"""Intel TDX as a platform of the verifier: checks a quote, finds collateral, fills the sheet.

    1. Read the quote; what follows its signature data is cut off.
    2. Check the chain of signatures from Intel's root to the TD report.
    3. Find the newest collateral that holds: revocation lists, TCB info, QE identity.
    4. Match platform, module and quoting enclave with it.
    5. Replay the event log, if there is one.

Nothing is judged: a debuggable TD, an old firmware and an event log that is not there are
claims. What Intel itself has revoked is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confide.attest.endorsements import EndorsementSource
from confide.attest.factors import FactorSheet, FactorSpec, Owner
from confide.attest.platform import Authenticated, Processor
from confide.attest.platforms.tdx.chain import INTEL_ROOT, PinnedRoot
from confide.attest.platforms.tdx.eventlog import LogEntry, check_log
from confide.attest.platforms.tdx.quote import Quote
from confide.attest.platforms.tdx.search import Checked, find_collateral
from confide.attest.platforms.tdx.signature import SignedQuote, check_signature
from confide.errors import AttestationError

__all__ = ["TDX_FACTORS", "Genuine", "TdxVerifier", "authenticate_quote"]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_FETCH: Final = "confide endorsements fetch --help"
_UPGRADE: Final = "pip install -U confide"

_CHECKS: Final = (
    ("tdx quote form", Owner.CLOUD, _UPGRADE, {"truncated", "quote_version", "tee_type"}),
    ("tdx quote body", Owner.CLOUD, _UPGRADE, {"body_type", "body_size"}),
    ("tdx quoting enclave vendor", Owner.CLOUD, _ASK, {"qe_vendor", "cert_type"}),
    ("tdx root pinned", Owner.CHIP_VENDOR, _ASK, {"root_not_pinned"}),
    ("tdx certificate chain", Owner.CHIP_VENDOR, _ASK, {"chain_signature"}),
    ("tdx certificate dates", Owner.CHIP_VENDOR, _ASK, {"cert_expired"}),
    ("tdx quoting enclave signature", Owner.CLOUD, _ASK, {"qe_report_signature"}),
    ("tdx attestation key", Owner.CLOUD, _ASK, {"qe_report_data"}),
    ("tdx quote signature", Owner.CLOUD, _ASK, {"quote_signature"}),
    ("tdx revocation lists", Owner.CHIP_VENDOR, _FETCH, {"crl_signature", "crl_expired"}),
    ("tdx not revoked", Owner.CHIP_VENDOR, _ASK, {"revoked"}),
    ("tdx tcb info", Owner.CHIP_VENDOR, _FETCH, {"tcb_info_signature", "tcb_info_expired"}),
    (
        "tdx qe identity",
        Owner.CHIP_VENDOR,
        _FETCH,
        {"qe_identity_signature", "qe_identity_expired"},
    ),
    (
        "tdx quoting enclave identity",
        Owner.CLOUD,
        _ASK,
        {"qe_identity_mismatch", "qe_miscselect", "qe_attributes"},
    ),
    ("tdx collateral fits", Owner.NETWORK, _FETCH, {"collateral_kind", "fmspc_mismatch"}),
    (
        "tdx module identity",
        Owner.CLOUD,
        _ASK,
        {"module_signer", "module_identity_missing", "module_tcb_no_match"},
    ),
    ("tdx tcb level", Owner.CLOUD, _ASK, {"tcb_no_match"}),
    ("tdx tcb not revoked", Owner.CHIP_VENDOR, _ASK, {"tcb_revoked"}),
    ("tdx event log", Owner.OPERATOR, _ASK, {"eventlog_mismatch"}),
)
"""What is checked, whose failure it is, what to do, and the codes that say it failed."""

TDX_FACTORS: Final = tuple(
    FactorSpec(name, owner, next_command=command) for name, owner, command, _ in _CHECKS
)
_COLLATERAL: Final = "tdx collateral fits"
_EVENT_LOG: Final = "tdx event log"
_MOST_EVENTS: Final = 64
_APPLICATION: Final = 3
_DEBUG_BITS: Final = 0xFF
_SEPT_VE_DISABLE: Final = 1 << 28
_MIGRATABLE: Final = 1 << 29


@dataclass(frozen=True)
class Genuine:
    """A genuine quote with what Intel says about its platform.

    Attributes:
        signed: The quote and its chain.
        checked: What the collateral says.
        events: Entries of the event log, or None if there was no log.
    """

    signed: SignedQuote
    checked: Checked
    events: tuple[LogEntry, ...] | None

    @property
    def expires_at(self) -> datetime:
        """The earlier end of certificates and collateral."""
        return min(self.signed.chain_end, self.checked.expires_at)

    def claims(self) -> Mapping[str, object]:
        """Return the claims by name; see docs/explanation/attestation-tdx.md."""
        report, platform = self.signed.quote.report, self.signed.platform
        verdict = self.checked.verdict
        attributes = int.from_bytes(report.td_attributes, "little")
        registers = {f"rtmr{number}": value for number, value in enumerate(report.rtmrs)}
        return {
            "product": "TDX",
            "measurement": report.mr_td + b"".join(report.rtmrs),
            "debuggable": bool(attributes & _DEBUG_BITS),
            "tcb": {"tcb_evaluation_number": self.checked.number},
            "mr_td": report.mr_td,
            **registers,
            "mr_seam": report.mr_seam,
            "mr_signer_seam": report.mr_signer_seam,
            "mr_config_id": report.mr_config_id,
            "mr_owner": report.mr_owner,
            "mr_owner_config": report.mr_owner_config,
            "mr_service_td": report.service_td,
            "td_attributes": attributes,
            "xfam": int.from_bytes(report.xfam, "little"),
            "sept_ve_disable": bool(attributes & _SEPT_VE_DISABLE),
            "migratable": bool(attributes & _MIGRATABLE),
            "tcb_status": verdict.status,
            "tcb_parts": verdict.parts,
            "tcb_date": verdict.date,
            "advisories": verdict.advisories,
            "fmspc": platform.fmspc.hex(),
            "platform_id": (platform.instance_id or platform.ppid).hex(),
            "quote_version": self.signed.quote.version,
            "eventlog": "absent" if self.events is None else "replayed",
            "events": _shown(self.events or ()),
        }


class TdxVerifier:
    """Checks TDX quotes under Intel's root. An `EvidenceVerifier`.

    Args:
        roots: Accepted roots. Anything but the default is for tests.
    """

    type = "tdx"
    processor = Processor.CPU
    factors = TDX_FACTORS

    def __init__(self, *, roots: Sequence[PinnedRoot] = (INTEL_ROOT,)) -> None:
        self._roots = roots

    def authenticate(
        self,
        report: bytes,
        *,
        aux: Mapping[str, bytes],
        endorsements: EndorsementSource,
        sheet: FactorSheet,
        at: datetime,
    ) -> Authenticated:
        """Check a quote up to Intel's root. See `EvidenceVerifier.authenticate`.

        Args:
            report: The quote, at most 16 KiB.
            aux: "eventlog": CCEL or dstack's JSON; may be absent.
            endorsements: Asked for "tdx/collateral".
            sheet: Takes the factors named in `factors`.
            at: Now.

        Raises:
            AttestationError: tdx.* or collateral.*.
        """
        genuine = authenticate_quote(
            report, aux=aux, endorsements=endorsements, sheet=sheet, at=at, roots=self._roots
        )
        status = genuine.checked.verdict.status
        return Authenticated(
            claims=genuine.claims(),
            report_data=genuine.signed.quote.report.report_data,
            expires_at=genuine.expires_at,
            summary=f"Intel TDX quote, version {genuine.signed.quote.version}, {status}",
        )


def authenticate_quote(
    raw: bytes,
    *,
    aux: Mapping[str, bytes],
    endorsements: EndorsementSource,
    sheet: FactorSheet,
    at: datetime,
    roots: Sequence[PinnedRoot] = (INTEL_ROOT,),
) -> Genuine:
    """Check a quote, find collateral for it and fill the sheet.

    Raises:
        AttestationError: As `TdxVerifier.authenticate`.
    """
    try:
        signed = check_signature(Quote.parse(raw), at=at, roots=roots)
        checked = find_collateral(signed, endorsements, at=at, roots=roots)
        log = aux.get("eventlog")
        events = None if log is None else check_log(log, signed.quote.report.rtmrs)
    except AttestationError as error:
        _show(sheet, error)
        raise
    _show(sheet, None)
    if events is None:
        sheet.not_applicable(_EVENT_LOG, "none was sent; the registers speak for themselves")
    return Genuine(signed, checked, events)


def _show(sheet: FactorSheet, error: AttestationError | None) -> None:
    """Put the outcome of the checks on the sheet; after a refusal the rest was not made."""
    slug = "" if error is None else error.code.removeprefix("tdx.")
    for name, _, _, codes in _CHECKS:
        found_here = error is not None and (
            slug in codes or (name == _COLLATERAL and not error.code.startswith("tdx."))
        )
        if error is not None and found_here:
            sheet.mark_failed(name, str(error))
            return
        sheet.passed(name, "checked")


def _shown(events: Sequence[LogEntry]) -> tuple[Mapping[str, object], ...]:
    """Return what the application extended, as far as the log proves what it was."""
    return tuple(
        {"name": event.name, "type": event.kind, "content": event.content.hex()}
        for event in events
        if event.register == _APPLICATION and event.content is not None
    )[:_MOST_EVENTS]
