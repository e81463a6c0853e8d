"""Single checks: kind, type, dates, nonce, document, manifest, collateral.

All but `check_collateral` compare what the envelope *says*. That the statement is genuine
is decided by the signature over `binding.report_data`; these checks only make the refusal
precise, and they run before any signature is looked at.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from confide.attest.binding import NONCE_LENGTH
from confide.attest.evidence import Evidence, EvidenceKind
from confide.attest.platform import Authenticated, EvidenceVerifier, Processor
from confide.attest.results import to_unix
from confide.errors import BindingError, ConfideError, EndorsementError, EvidenceError
from confide.wire.key_document import KeyDocument
from confide.wire.suites import XWING_SUITE

__all__ = [
    "MAX_AGE",
    "NOT_HARDWARE",
    "check_collateral",
    "check_dates",
    "check_document",
    "check_kind",
    "check_manifest",
    "check_nonce",
    "check_suite",
    "check_types",
    "document_expiry",
    "parse_document",
]

NOT_HARDWARE = "simulated: no processor vouches for this enclave"
MAX_AGE = timedelta(hours=1)
"""The client challenges at least hourly (spec/protocol.md, key document section)."""


def parse_document(document: bytes) -> KeyDocument:
    """Read the key document, or refuse with an error of this package.

    Raises:
        EvidenceError: envelope.document.
    """
    try:
        return KeyDocument.parse(document)
    except (ConfideError, ValueError) as error:
        raise EvidenceError(f"key document: {error}", code="envelope.document") from error


def check_document(evidence: Evidence, document: bytes) -> None:
    """Refuse an envelope that is about another key document than the one at hand."""
    if evidence.document != document:
        raise BindingError("the evidence is about another key document", code="binding.document")


def check_nonce(evidence: Evidence, nonce: bytes) -> None:
    """Refuse an envelope that does not answer this challenge.

    Raises:
        BindingError: binding.nonce_missing (cached evidence) or binding.nonce_mismatch.
        ValueError: `nonce` is not 32 bytes; an empty one would accept cached evidence.
    """
    if len(nonce) != NONCE_LENGTH:
        raise ValueError(f"nonce must be {NONCE_LENGTH} bytes, not {len(nonce)}")
    if not evidence.client_nonce:
        raise BindingError(
            "cached evidence does not answer a challenge", code="binding.nonce_missing"
        )
    if not hmac.compare_digest(evidence.client_nonce, nonce):
        raise BindingError("the evidence answers another nonce", code="binding.nonce_mismatch")


def check_manifest(evidence: Evidence, document: KeyDocument, manifest: bytes) -> None:
    """Refuse unless manifest, key document and envelope name the same digest."""
    digest = hashlib.sha256(manifest).digest()
    for name, stated in (
        ("key document", bytes.fromhex(document.manifest_sha256)),
        ("evidence", evidence.manifest_sha256),
    ):
        if stated != digest:
            raise BindingError(f"the {name} names another manifest", code="binding.manifest")


def check_dates(document: KeyDocument, at: datetime) -> None:
    """Refuse a key document that is not valid at `at`.

    Raises:
        BindingError: binding.keyset_not_yet_valid or binding.keyset_expired.
    """
    now = to_unix(at)
    if now < document.not_before:
        raise BindingError(
            f"the key document starts in {document.not_before - now} s",
            code="binding.keyset_not_yet_valid",
            hint="check this machine's clock: confide doctor",
        )
    if now >= document.not_after:
        raise BindingError(
            f"the key document ended {now - document.not_after} s ago",
            code="binding.keyset_expired",
        )


def document_expiry(document: KeyDocument, at: datetime) -> datetime:
    """Return the earlier of the document's end and one hour from `at`."""
    latest = at + MAX_AGE
    return min(latest, datetime.fromtimestamp(min(document.not_after, to_unix(latest)), tz=UTC))


def check_suite(document: KeyDocument) -> None:
    """Refuse a document without the one suite that clients speak; nothing is negotiated."""
    suite = XWING_SUITE
    if (suite.kem_id, suite.kdf_id, suite.aead_id) not in document.suites:
        raise EvidenceError("the key document does not offer X-Wing", code="envelope.suite")


def check_kind(evidence: Evidence) -> None:
    """Refuse evidence that no processor signed."""
    if evidence.kind is not EvidenceKind.HARDWARE:
        raise EvidenceError(
            NOT_HARDWARE,
            code="envelope.kind",
            hint="fine on your own machine (confide up); nothing else accepts it",
        )


def check_types(evidence: Evidence, platforms: Mapping[str, EvidenceVerifier]) -> None:
    """Refuse a type that no platform verifies, or that stands in the other processor's place."""
    found = {(gpu.type, Processor.GPU) for gpu in evidence.gpus}
    if evidence.cpu is not None:
        found.add((evidence.cpu.type, Processor.CPU))
    unknown = sorted(
        {
            name
            for name, place in found
            if name not in platforms or platforms[name].processor is not place
        }
    )
    if unknown:
        known = ", ".join(sorted(platforms))
        raise EvidenceError(
            f"this version verifies {known}; the evidence is of {', '.join(unknown)}",
            code="envelope.type",
        )


def check_collateral(genuine: Authenticated, at: datetime) -> None:
    """Refuse a report whose collateral has ended, whatever the platform made of it."""
    if genuine.expires_at <= at:
        raise EndorsementError("the collateral has ended", code="collateral.stale")
