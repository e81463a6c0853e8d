"""AMD's Key Distribution Service: certificates of chips, chains and revocation lists.

The service limits how often it is asked; a chip's certificate for one firmware version is good
for as long as that version runs, so it is kept for good and asked for once.

Source: AMD 57230, VCEK Certificate and KDS Interface Specification.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

from cryptography import x509

from confide.attest.collateral import Period
from confide.attest.endorsements import EndorsementKey
from confide.client.vendors.https import VendorHttp
from confide.errors import ConfigError, TransportError

__all__ = ["fetch_amd", "target_of"]

HOST: Final = "kdsintf.amd.com"

_PRODUCT: Final = r"(?P<product>Milan|Genoa|Turin)"
_SUBJECTS: Final = {
    "snp/vek": re.compile(_PRODUCT + r"/(?P<chip>[0-9a-f]{128})/(?P<tcb>[0-9a-f]{16})", re.ASCII),
    "snp/chain": re.compile(_PRODUCT + r"(?P<vlek>/vlek)?", re.ASCII),
    "snp/crl": re.compile(_PRODUCT + r"(?P<vlek>/vlek)?", re.ASCII),
}
# Component to its byte of REPORTED_TCB; the layout follows the processor family.
_BEFORE_TURIN: Final = {"blSPL": 0, "teeSPL": 1, "snpSPL": 6, "ucodeSPL": 7}
_TURIN: Final = {"fmcSPL": 0, "blSPL": 1, "teeSPL": 2, "snpSPL": 3, "ucodeSPL": 7}
_MAX_CERTIFICATE: Final = 8 * 1024
_MAX_CHAIN: Final = 32 * 1024
_MAX_LIST: Final = 256 * 1024


def target_of(key: EndorsementKey) -> str:
    """Return path and query of the service for a key.

    Args:
        key: snp/vek with "<product>/<chip id, 128 hex digits>/<REPORTED_TCB, 16 hex digits in the
            report's byte order>"; snp/chain or snp/crl with "<product>".

    Raises:
        ConfigError: The subject has another form, or the service has no such thing.
    """
    match = _SUBJECTS[key.kind].fullmatch(key.subject)
    if match is None:
        raise ConfigError(
            f"AMD serves nothing for {key}",
            hint="a VLEK comes with the evidence; a masked chip id has no certificate"
            if key.kind == "snp/vek"
            else "name Milan, Genoa or Turin",
        )
    product = match["product"]
    if key.kind != "snp/vek":
        signer = "vlek" if match["vlek"] else "vcek"
        return f"/{signer}/v1/{product}/{'cert_chain' if key.kind == 'snp/chain' else 'crl'}"
    chip, tcb = match["chip"], bytes.fromhex(match["tcb"])
    if not int(chip, 16):
        raise ConfigError(
            "the chip id is masked, so AMD cannot be asked for its certificate",
            hint="ask the operator to staple it",
        )
    layout = _TURIN if product == "Turin" else _BEFORE_TURIN
    if product == "Turin":
        if int(chip[16:], 16):
            raise ConfigError("a Turin chip id has 8 bytes and then zeros")
        chip = chip[:16]
    query = "&".join(f"{name}={tcb[at]}" for name, at in layout.items())
    return f"/vcek/v1/{product}/{chip}?{query}"


def fetch_amd(http: VendorHttp, key: EndorsementKey) -> tuple[bytes, Period]:
    """Fetch one endorsement.

    Returns:
        Its content, and its dates where they matter for fetching again.

    Raises:
        ConfigError: See `target_of`.
        TransportError: No answer, or one of another shape.
    """
    target = target_of(key)
    if key.kind == "snp/vek":
        body = http.get(HOST, target, limit=_MAX_CERTIFICATE).body
        if not _is_one_der_sequence(body):
            raise _unlike("a certificate")
        return body, Period()
    if key.kind == "snp/chain":
        body = http.get(HOST, target, limit=_MAX_CHAIN).body
        if body.count(b"-----BEGIN CERTIFICATE-----") != 2:
            raise _unlike("a chain of two certificates")
        return body, Period()
    body = http.get(HOST, target, limit=_MAX_LIST).body
    return body, list_period(body, HOST)


def list_period(der: bytes, host: str) -> Period:
    """Return the dates of a revocation list.

    Raises:
        TransportError: vendor-malformed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with it shows when it is checked
            found = x509.load_der_x509_crl(der)
            issued_at, until = found.last_update_utc, found.next_update_utc
    except (ValueError, x509.InvalidVersion):
        raise TransportError(
            f"{host}: the answer is not a revocation list", code="vendor-malformed"
        ) from None
    return Period(
        max(0, int(issued_at.timestamp())),
        None if until is None else max(0, int(until.timestamp())),
    )


def _is_one_der_sequence(raw: bytes) -> bool:
    return (
        len(raw) > 4 and raw[:2] == b"\x30\x82" and int.from_bytes(raw[2:4], "big") + 4 == len(raw)
    )


def _unlike(what: str) -> TransportError:
    return TransportError(f"{HOST}: the answer is not {what}", code="vendor-malformed")
