"""INSECURE. Check simulated evidence under one root that the caller names."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from confide.attest.checks import (
    NOT_HARDWARE,
    check_dates,
    check_document,
    check_manifest,
    check_nonce,
    document_expiry,
    parse_document,
)
from confide.attest.evidence import Evidence, EvidenceKind
from confide.attest.factors import FACTORS, Factor, FactorSheet
from confide.attest.platforms.simulated.signature import signed_bytes
from confide.attest.results import to_unix
from confide.errors import EndorsementError, EvidenceError

__all__ = ["SimulatedResult", "SimulatedVerifier"]


@dataclass(frozen=True)
class SimulatedResult:
    """INSECURE. The parts fit together; nothing is protected.

    It has no measurement, no TCB and no claims, and it is not an `AttestationResult`.

    Attributes:
        verified_at: When it was checked.
        expires_at: When the key document ends, at most one hour later.
        document_sha256: 32 bytes.
        factors: What was checked; "hardware root" is always a failure.
    """

    verified_at: datetime
    expires_at: datetime
    document_sha256: bytes
    factors: tuple[Factor, ...] = field(repr=False)

    @property
    def simulated(self) -> Literal[True]:
        """Always True."""
        return True

    @property
    def platform(self) -> str:
        """Always "software-dev"."""
        return str(EvidenceKind.SOFTWARE_DEV)

    @property
    def policy_digest(self) -> bytes:
        """Empty: no policy accepts simulated evidence, so none was applied."""
        return b""

    def to_json(self) -> dict[str, object]:
        """Return plain values for JSON, loudly marked."""
        return {
            "simulated": True,
            "warning": NOT_HARDWARE,
            "platform": self.platform,
            "iat": to_unix(self.verified_at),
            "exp": to_unix(self.expires_at),
            "document_sha256": self.document_sha256.hex(),
            "factors": [factor.to_json() for factor in self.factors],
        }


class SimulatedVerifier:
    """INSECURE. Accepts simulated evidence under one root, and nothing else.

    Args:
        root_public_key: Ed25519 public key, 32 bytes. There is no default.
        i_understand_this_is_not_hardware: The literal True.

    Raises:
        ValueError: The key is not 32 bytes, or the second argument is not True.
    """

    def __init__(
        self, root_public_key: bytes, *, i_understand_this_is_not_hardware: Literal[True]
    ) -> None:
        if i_understand_this_is_not_hardware is not True:
            raise ValueError("simulated evidence must be asked for by name")
        if len(root_public_key) != 32:
            raise ValueError(f"root_public_key must be 32 bytes, not {len(root_public_key)}")
        self._root = bytes(root_public_key)
        self._key = Ed25519PublicKey.from_public_bytes(self._root)

    def verify(
        self, raw_evidence: bytes, *, document: bytes, manifest: bytes, nonce: bytes, at: datetime
    ) -> SimulatedResult:
        """Check that the simulated root signed for this document, nonce and manifest.

        See `EnclaveVerifier.verify`.

        Raises:
            EvidenceError: Malformed, or evidence of another kind.
            EndorsementError: Another root, or the signature does not fit.
            BindingError: About another document, nonce or manifest, or out of its dates.
        """
        sheet = FactorSheet(FACTORS)
        with sheet.step("evidence well-formed", "envelope"):
            evidence = Evidence.parse(raw_evidence)
        with sheet.step("document well-formed", "key document"):
            parsed = parse_document(document)
        with sheet.step("document matches", "same bytes"):
            check_document(evidence, document)
        with sheet.step("document dates", "now is inside"):
            check_dates(parsed, at)
        with sheet.step("nonce echoed", "same 32 bytes"):
            check_nonce(evidence, nonce)
        with sheet.step("manifest matches", "same digest"):
            check_manifest(evidence, parsed, manifest)
        with sheet.step("fresh and bound", "signed by the simulated root"):
            self._check_signature(evidence, document, nonce, manifest)
        sheet.mark_failed("evidence kind", NOT_HARDWARE)
        sheet.mark_failed("hardware root", NOT_HARDWARE)
        return SimulatedResult(
            verified_at=at,
            expires_at=document_expiry(parsed, at),
            document_sha256=hashlib.sha256(document).digest(),
            factors=sheet.factors(),
        )

    def _check_signature(
        self, evidence: Evidence, document: bytes, nonce: bytes, manifest: bytes
    ) -> None:
        simulated = evidence.simulated
        if simulated is None:
            raise EvidenceError(
                "this is not simulated evidence; only the local stack is checked here",
                code="envelope.kind",
            )
        if not hmac.compare_digest(simulated.public_key, self._root):
            raise EndorsementError(
                "signed by another simulated root", code="simulated.root_not_pinned"
            )
        message = signed_bytes(
            hashlib.sha256(document).digest(), nonce, hashlib.sha256(manifest).digest()
        )
        try:
            self._key.verify(simulated.signature, message)
        except InvalidSignature:
            raise EndorsementError(
                "the simulated root did not sign this", code="simulated.signature"
            ) from None
