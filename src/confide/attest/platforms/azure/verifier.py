"""Azure's confidential virtual machines as platforms: hardware, paravisor, virtual TPM.

The guest does not talk to the processor; Microsoft's paravisor does. So the measurement of
the hardware's report is the paravisor's, and what runs in the guest is in the PCRs of the
virtual TPM. The chain, each link checked here:

    AMD's or Intel's root - hardware report - SHA-256 of the runtime document
    runtime document - user-data = report_data, and the TPM's attestation key
    attestation key - TPM quote - nonce = SHA-256(report_data), and digest of the PCRs

Both the document and the quote name our 64 bytes. The document alone would leave the PCRs
to an older quote of the same key, from before a restart with something else.

Envelope: `cpu.report` is the SNP report or TDX quote; `cpu.aux` has "hcl_runtime",
"tpm_message", "tpm_signature" and "tpm_pcrs" (24 times 32 bytes).

Source: Microsoft, "Azure confidential VM guest attestation design"; spec/protocol.md,
section 6.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from confide.attest.endorsements import EndorsementSource
from confide.attest.factors import FactorSheet, FactorSpec, Owner
from confide.attest.platform import Authenticated, EvidenceVerifier, Processor
from confide.attest.platforms.azure.hcl import Runtime
from confide.attest.platforms.azure.tpm_quote import TpmQuote, check_pcrs, check_tpm_signature
from confide.attest.platforms.snp.verifier import SnpVerifier
from confide.attest.platforms.tdx.verifier import TdxVerifier
from confide.errors import EvidenceError

__all__ = [
    "AZURE_FACTORS",
    "AzureSnpVerifier",
    "AzureTdxVerifier",
    "check_runtime_digest",
]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_DIGEST: Final = 32
_REQUIRED: Final = ("hcl_runtime", "tpm_message", "tpm_signature", "tpm_pcrs")

AZURE_FACTORS: Final = (
    FactorSpec("azure paravisor document", Owner.CLOUD, next_command=_ASK),
    FactorSpec("azure attestation key", Owner.CLOUD, next_command=_ASK),
    FactorSpec("azure tpm signature", Owner.CLOUD, next_command=_ASK),
    FactorSpec("azure tpm nonce", Owner.OPERATOR, next_command=_ASK),
    FactorSpec("azure pcr values", Owner.OPERATOR, next_command=_ASK),
)


class _AzureVerifier:
    """What both platforms share.

    Args:
        inner: Checks the hardware's report. Anything but the default is for tests.
    """

    type: str
    processor = Processor.CPU
    _name: str

    def __init__(self, inner: EvidenceVerifier) -> None:
        self._inner = inner

    @property
    def factors(self) -> tuple[FactorSpec, ...]:
        """Those of the hardware's report, then Azure's own."""
        return (*self._inner.factors, *AZURE_FACTORS)

    def authenticate(
        self,
        report: bytes,
        *,
        aux: Mapping[str, bytes],
        endorsements: EndorsementSource,
        sheet: FactorSheet,
        at: datetime,
    ) -> Authenticated:
        """Check report, runtime document and TPM quote. See `EvidenceVerifier.authenticate`.

        Args:
            report: SNP report or TDX quote.
            aux: "hcl_runtime", "tpm_message", "tpm_signature" and "tpm_pcrs"; for TDX also
                what `TdxVerifier` reads.
            endorsements: Asked for what the hardware's report needs.
            sheet: Takes the factors named in `factors`.
            at: Now.

        Raises:
            AttestationError: azure.*, or what the hardware's verifier raises.
        """
        hardware = self._inner.authenticate(
            report, aux=aux, endorsements=endorsements, sheet=sheet, at=at
        )
        with sheet.step("azure paravisor document", "its digest is in the hardware's report"):
            parts = _parts(aux)
            check_runtime_digest(parts["hcl_runtime"], hardware.report_data)
        with sheet.step("azure attestation key", "named by the paravisor"):
            runtime = Runtime.parse(parts["hcl_runtime"])
        with sheet.step("azure tpm signature", "RSA with SHA-256 by the attestation key"):
            check_tpm_signature(
                runtime.attestation_key, parts["tpm_signature"], parts["tpm_message"]
            )
        with sheet.step("azure tpm nonce", "made for this key document and challenge"):
            quote = TpmQuote.parse(parts["tpm_message"])
            _check_nonce(quote, runtime.user_data)
        with sheet.step("azure pcr values", "those the TPM signed"):
            pcrs = check_pcrs(parts["tpm_pcrs"], quote)
        return Authenticated(
            claims={
                **hardware.claims,
                "pcrs": {str(number): value.hex() for number, value in enumerate(pcrs)},
                "vm": dict(runtime.vm),
                "ak_bound": True,
            },
            report_data=runtime.user_data,
            expires_at=hardware.expires_at,
            summary=f"Azure paravisor on {hardware.summary}",
        )


class AzureSnpVerifier(_AzureVerifier):
    """Checks SEV-SNP guests of Azure."""

    type = "azure-sev-snp"

    def __init__(self, inner: EvidenceVerifier | None = None) -> None:
        super().__init__(inner or SnpVerifier())


class AzureTdxVerifier(_AzureVerifier):
    """Checks TDX guests of Azure."""

    type = "azure-tdx"

    def __init__(self, inner: EvidenceVerifier | None = None) -> None:
        super().__init__(inner or TdxVerifier())


def check_runtime_digest(runtime: bytes, report_data: bytes) -> None:
    """Compare the runtime document with the 64 bytes of the hardware's report.

    Raises:
        EvidenceError: azure.runtime_hash.
    """
    expected = hashlib.sha256(runtime).digest() + bytes(_DIGEST)
    if not hmac.compare_digest(expected, report_data):
        raise EvidenceError(
            "the hardware's report is about another runtime document", code="azure.runtime_hash"
        )


def _check_nonce(quote: TpmQuote, user_data: bytes) -> None:
    if not hmac.compare_digest(quote.nonce, hashlib.sha256(user_data).digest()):
        raise EvidenceError("the TPM quote answers another nonce", code="azure.tpm_nonce")


def _parts(aux: Mapping[str, bytes]) -> Mapping[str, bytes]:
    missing = [name for name in _REQUIRED if name not in aux]
    if missing:
        raise EvidenceError(f"aux lacks {', '.join(missing)}", code="azure.incomplete")
    return aux
