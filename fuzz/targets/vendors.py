"""What chip vendors' servers answer, and what evidence makes this program ask them."""

from __future__ import annotations

from tests.unit.attest.nvidia import mint

from confide.client.vendors.amd import list_period
from confide.client.vendors.intel import collateral_period
from confide.client.vendors.nvidia import answer_period, questions
from confide.errors import AttestationError, ConfigError, TransportError
from fuzz.oracle import Target
from fuzz.vectors import binary, read

_PACKAGE = "confide.client.vendors"
_REFUSALS = (AttestationError, ConfigError, TransportError)
_HOPPER = "nvidia/hopper-550.90.07"


def _chain(raw: bytes) -> object:
    return questions(raw.decode("utf-8", "replace"))


def _certificate(raw: bytes) -> object:
    """Put an extension that says what it likes into a chain that reads well."""
    points = mint.x509.UnrecognizedExtension(mint.x509.ObjectIdentifier("2.5.29.31"), raw)
    device = mint.ROOT.issue("device", ca=False, extensions=[(points, False)])
    return questions(mint.pem(device, device, mint.ROOT).decode())


def targets() -> list[Target]:
    """Return the targets of the fetcher."""
    lists = (read("snp/crl/milan.crl.der"), mint.revocation_list(mint.IDENTITY))
    points = mint.PROVISIONER.certificate.extensions.get_extension_for_class(
        mint.x509.CRLDistributionPoints
    ).value
    return [
        Target(
            "vendor-list",
            lambda raw: list_period(raw, "vendor.example"),
            lists,
            (f"{_PACKAGE}.amd:list_period",),
            refusals=_REFUSALS,
        ),
        Target(
            "vendor-collateral",
            collateral_period,
            (read("tdx/v5-uptodate/collateral.json"),),
            (f"{_PACKAGE}.intel:collateral_period",),
            refusals=_REFUSALS,
        ),
        Target(
            "vendor-answer",
            answer_period,
            (binary(read(f"{_HOPPER}/ocsp/gpu_certificate_l2.b64")),),
            (f"{_PACKAGE}.nvidia:answer_period",),
            refusals=_REFUSALS,
        ),
        Target(
            "vendor-questions",
            _chain,
            (read(f"{_HOPPER}/chain.pem"),),
            (f"{_PACKAGE}.nvidia:questions",),
            refusals=_REFUSALS,
        ),
        Target(
            "vendor-points",
            _certificate,
            (points.public_bytes(),),
            (f"{_PACKAGE}.nvidia:questions",),
            refusals=_REFUSALS,
        ),
    ]
