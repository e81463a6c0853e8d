"""What AMD writes into a leaf certificate, and that a report is of the same machine.

A VCEK is derived for one chip at one firmware level, a VLEK for one cloud at one firmware
level. The certificate says which, in extensions under 1.3.6.1.4.1.3704.1; a report under
it must say the same.

Source: AMD publication 57230, section 3.1; attestation.md section 3.1.
"""

from __future__ import annotations

from typing import Final

from confide.attest.der import (
    IA5_STRING,
    OCTET_STRING,
    DerReader,
    Malformed,
)
from confide.attest.platforms.snp.certificates import AmdCertificate
from confide.attest.platforms.snp.report import Signer, SnpReport, components
from confide.errors import EndorsementError, EvidenceError

__all__ = ["check_fit", "cloud_of", "named_product"]

_EXTENSION: Final = "1.3.6.1.4.1.3704.1"
_PRODUCT: Final = f"{_EXTENSION}.2"
_HARDWARE_ID: Final = f"{_EXTENSION}.4"
_CSP_ID: Final = f"{_EXTENSION}.5"
_SPL: Final = {
    "bootloader": f"{_EXTENSION}.3.1",
    "tee": f"{_EXTENSION}.3.2",
    "snp": f"{_EXTENSION}.3.3",
    "microcode": f"{_EXTENSION}.3.8",
    "fmc": f"{_EXTENSION}.3.9",
}
_LEAF_NAMES: Final = {Signer.VCEK: "SEV-VCEK", Signer.VLEK: "SEV-VLEK"}
_AUTHORITY_NAMES: Final = {Signer.VCEK: "SEV-{}", Signer.VLEK: "SEV-VLEK-{}"}
_HARDWARE_ID_LENGTHS: Final = (8, 64)


def check_fit(
    report: SnpReport, leaf: AmdCertificate, authority: AmdCertificate, product: str
) -> None:
    """Refuse a report that is not of the signer, product, firmware and chip of its certificate.

    Args:
        report: Its signature holds.
        leaf: The certificate it holds under.
        authority: ASK or ASVK that signed the leaf.
        product: Whose root it is.

    Raises:
        EndorsementError: snp.signing_key, .product_mismatch, .tcb_cert_mismatch or
            .chip_id_mismatch.
        EvidenceError: snp.vmpl: the host asked for the report.
    """
    signer = report.signer
    names = leaf.common_name, authority.common_name
    if names != (_LEAF_NAMES[signer], _AUTHORITY_NAMES[signer].format(product)):
        raise EndorsementError(
            f"the report says that a {signer} of {product} signed it; the certificates are of"
            f" {names[0]} and {names[1]}",
            code="snp.signing_key",
        )
    _check_product(report, named_product(leaf), product)
    for name, reported in components(report.reported_tcb, product).items():
        certified = _number(leaf, _SPL[name])
        if certified != reported:
            raise EndorsementError(
                f"{name} is {reported} in the report and {certified} in the certificate",
                code="snp.tcb_cert_mismatch",
            )
    if signer is Signer.VCEK:
        _check_chip(report.chip_id, _hardware_id(leaf))
    if report.requested_by_host:
        raise EvidenceError("the host asked for this report, not the guest", code="snp.vmpl")


def named_product(leaf: AmdCertificate) -> str:
    """Return the product as the certificate names it, such as "Milan-B0".

    Raises:
        EndorsementError: snp.product_mismatch: it names none.
    """
    return _text(leaf, _PRODUCT)


def cloud_of(leaf: AmdCertificate) -> str | None:
    """Return the cloud that a VLEK was given to, or None if the certificate names none.

    Raises:
        EndorsementError: snp.product_mismatch: the name is no text.
    """
    return _text(leaf, _CSP_ID) if _CSP_ID in leaf.extensions else None


def _check_product(report: SnpReport, certified: str, product: str) -> None:
    if report.cpuid is not None and report.product is None:
        family, model, _ = report.cpuid
        raise EndorsementError(
            f"a processor of family 0x{family:02x}, model 0x{model:02x} is not known here",
            code="snp.product_mismatch",
            hint="pip install -U confide",
        )
    if certified.partition("-")[0] != product or report.product not in (None, product):
        raise EndorsementError(
            f"a report of {report.product or 'an unnamed product'} under a certificate of"
            f" {certified} and the root of {product}",
            code="snp.product_mismatch",
        )


def _check_chip(chip_id: bytes, hardware_id: bytes) -> None:
    fits = len(hardware_id) in _HARDWARE_ID_LENGTHS and chip_id == hardware_id.ljust(64, b"\0")
    if not fits or not any(chip_id):
        raise EndorsementError(
            "the certificate is of another chip, or the report hides its chip",
            code="snp.chip_id_mismatch",
        )


def _hardware_id(leaf: AmdCertificate) -> bytes:
    """The extension holds the bytes raw; some issues wrap them in an OCTET STRING."""
    value = leaf.extensions.get(_HARDWARE_ID, b"")
    wrapped = len(value) - 2 in _HARDWARE_ID_LENGTHS and value[0] == OCTET_STRING
    return value[2:] if wrapped and value[1] == len(value) - 2 else value


def _number(leaf: AmdCertificate, name: str) -> int | None:
    try:
        reader = DerReader(leaf.extensions.get(name, b""))
        number = reader.integer()
        reader.end()
    except Malformed:
        return None
    return number


def _text(leaf: AmdCertificate, name: str) -> str:
    try:
        reader = DerReader(leaf.extensions.get(name, b""))
        text = reader.take(IA5_STRING).content.decode("ascii")
        reader.end()
    except ValueError:
        text = ""
    if not text or not text.isprintable():
        raise EndorsementError(
            f"the certificate lacks the extension {name}", code="snp.product_mismatch"
        )
    return text
