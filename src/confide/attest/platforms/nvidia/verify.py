"""Check the report of an NVIDIA GPU or NVSwitch: genuine, and of which device.

    1. Read the report; every byte belongs to one field.
    2. Read the certificates; the last one is NVIDIA's Device Identity CA, pinned here.
    3. Check the signatures and dates of the chain.
    4. Check the signature of the report, and that a signature over all blocks was asked for.
    5. Compare the firmware of the certificate with that of the report.
    6. Ask whether NVIDIA has withdrawn the device.

A genuine report proves neither that confidential mode is on nor which virtual machine
uses the device; see docs/explanation/attestation-nvidia.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from confide.attest.endorsements import EndorsementSource
from confide.attest.factors import FactorSheet, FactorSpec, Owner
from confide.attest.platform import Authenticated, Processor
from confide.attest.platforms.nvidia.chain import (
    DEVICE_ROOT,
    ChainKind,
    PinnedRoot,
    check_chain,
    device_chain,
    key_of,
    read_pem_chain,
)
from confide.attest.platforms.nvidia.device import FIRMWARE_ID, Device, read_device
from confide.attest.platforms.nvidia.firmware_id import compare_firmware
from confide.attest.platforms.nvidia.revocation import NONE, Standing, check_revocation
from confide.attest.platforms.nvidia.spdm import Report
from confide.errors import EndorsementError, EvidenceError

__all__ = ["NvidiaVerifier", "check_report_signature"]

_ASK: Final = "ask the operator of the enclave; send the output of: confide verify URL --json"
_ALL_BLOCKS_SIGNED: Final = (1, 0xFF)


@dataclass(frozen=True)
class NvidiaVerifier:
    """Checks SPDM reports up to the pinned Device Identity CA. An `EvidenceVerifier`.

    Attributes:
        roots: Accepted roots; tests of this class bring their own.
    """

    roots: tuple[PinnedRoot, ...] = (DEVICE_ROOT,)

    type = "nvidia-spdm"
    processor = Processor.GPU
    factors = (
        FactorSpec("nvidia report format", Owner.OPERATOR, next_command=_ASK),
        FactorSpec("nvidia chain", Owner.CHIP_VENDOR, next_command=_ASK),
        FactorSpec("nvidia report signature", Owner.OPERATOR, next_command=_ASK),
        FactorSpec("nvidia measurements asked for", Owner.OPERATOR, next_command=_ASK),
        FactorSpec("nvidia firmware id", Owner.OPERATOR, next_command=_ASK),
        FactorSpec("nvidia chip", Owner.YOU, next_command="pip install -U confide"),
        FactorSpec(
            "nvidia revocation", Owner.OPERATOR, enforced=False, next_command="confide doctor"
        ),
    )

    def authenticate(
        self,
        report: bytes,
        *,
        aux: Mapping[str, bytes],
        endorsements: EndorsementSource,
        sheet: FactorSheet,
        at: datetime,
    ) -> Authenticated:
        """Check one device. See `EvidenceVerifier.authenticate`.

        Args:
            report: SPDM request and response, at most 64 KiB.
            aux: "chain": PEM certificates, leaf first, at most 64 KiB.
            endorsements: Asked for "nvidia/ocsp" and "nvidia/crl".
            sheet: Takes the factors named in `factors`.
            at: Now.

        Raises:
            EvidenceError: The report is malformed (nv.truncated, .request_header,
                .response_header, .meas_spec, .meas_length, .meas_duplicate).
            EndorsementError: nv.root_not_pinned, .chain_signature, .cert_expired,
                .report_signature, .fwid, .arch, .revoked or .ocsp_unknown_cert.
        """
        kind = device_chain(self.roots)
        with sheet.step("nvidia report format", "SPDM 1.1, every byte accounted for"):
            parsed = Report.parse(report)
        with sheet.step("nvidia chain", f"to the {self.roots[0].name}"):
            chain = read_pem_chain(aux.get("chain", b""), kind)
            _, chain_end = check_chain(chain, kind, at=at)
        with sheet.step("nvidia report signature", "ECDSA P-384 by the device"):
            check_report_signature(parsed, chain[0], kind)
        with sheet.step("nvidia measurements asked for", "all of them, signed"):
            _check_request(parsed)
        with sheet.step("nvidia firmware id", "the certificate was made for this firmware"):
            firmware = compare_firmware(chain[0], parsed.opaque.get(FIRMWARE_ID))
        with sheet.step("nvidia chip", "known, and the same in report and certificates"):
            device = read_device(parsed, chain)
        standing = _check_standing(sheet, chain, endorsements, at)
        return Authenticated(
            claims=_claims(device, firmware, standing),
            report_data=parsed.nonce,
            expires_at=min(chain_end, standing.valid_until or chain_end),
            summary=f"NVIDIA {device.chip} {device.kind}, VBIOS {device.vbios}",
        )


def check_report_signature(report: Report, leaf: x509.Certificate, kind: ChainKind) -> None:
    """Check that the leaf's key signed request and response.

    Raises:
        EndorsementError: nv.report_signature.
    """
    half = len(report.signature) // 2
    r = int.from_bytes(report.signature[:half], "big")
    s = int.from_bytes(report.signature[half:], "big")
    try:
        key_of(leaf, kind).verify(encode_dss_signature(r, s), report.signed, ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise EndorsementError(
            "the device of this chain did not sign the report", code="nv.report_signature"
        ) from None


def _check_request(report: Report) -> None:
    """Refuse an answer to another question than "all measurements, signed"."""
    if report.parameters != _ALL_BLOCKS_SIGNED:
        raise EvidenceError(
            "the request does not ask for all measurements under a signature",
            code="nv.request_header",
        )


def _check_standing(
    sheet: FactorSheet,
    chain: tuple[x509.Certificate, ...],
    endorsements: EndorsementSource,
    at: datetime,
) -> Standing:
    """Refuse a revoked device; show what is not known, for the policy to judge."""
    name = "nvidia revocation"
    try:
        standing = check_revocation(chain, endorsements, at=at)
    except EndorsementError as error:
        sheet.failed(name, error)
        raise
    if standing.method == NONE:
        sheet.mark_failed(
            name, f"nobody vouches that it is not ({standing.problem or 'no answer'})"
        )
    else:
        sheet.passed(name, f"not revoked, by {standing.method.upper()}")
    return standing


def _claims(device: Device, firmware: str, standing: Standing) -> Mapping[str, object]:
    return {
        "device": device.serial,
        "kind": device.kind,
        "arch": device.arch,
        "chip": device.chip,
        "driver": device.driver,
        "vbios": device.vbios,
        "mode": device.mode,
        "project": device.project,
        "project_sku": device.project_sku,
        "chip_sku": device.chip_sku,
        "fwid": firmware,
        "measurements": dict(device.measurements),
        "revocation": standing.method,
        "revocation_problem": standing.problem,
        "pdis": device.pdis,
    }
