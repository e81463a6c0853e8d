"""Intel's Provisioning Certification Service: everything a TDX quote is checked against.

Four answers become one JSON object, in the form that PCCS servers and `dcap-qvl` use. The signed
parts are cut out of the answers byte for byte, because the signatures are over bytes.

Source: Intel PCS API, version 4.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from confide.attest.collateral import Period
from confide.attest.endorsements import EndorsementKey
from confide.client.vendors.amd import list_period
from confide.client.vendors.https import VendorAnswer, VendorHttp
from confide.errors import ConfigError, TransportError

__all__ = ["collateral_period", "fetch_intel"]

HOST: Final = "api.trustedservices.intel.com"
ROOT_HOST: Final = "certificates.trustedservices.intel.com"

_SUBJECT: Final = re.compile(r"(?P<fmspc>[0-9a-fA-F]{12})/(?P<ca>platform|processor)", re.ASCII)
_SIGNATURE: Final = re.compile(r',"signature":"([0-9a-fA-F]{128})"\}\s*', re.ASCII)
_TDX: Final = "/tdx/certification/v4"
_SGX: Final = "/sgx/certification/v4"
_MAX_ANSWER: Final = 128 * 1024
_MAX_CHAIN: Final = 16 * 1024


def fetch_intel(http: VendorHttp, key: EndorsementKey) -> tuple[bytes, Period]:
    """Fetch the collateral of one platform family.

    Args:
        http: Asks.
        key: tdx/collateral with "<FMSPC, 12 hex digits>/<platform or processor>".

    Returns:
        JSON, and the dates of the part that ends first.

    Raises:
        ConfigError: The subject has another form.
        TransportError: No answer, or one of another shape.
    """
    match = _SUBJECT.fullmatch(key.subject)
    if match is None:
        raise ConfigError(f"Intel serves nothing for {key}", hint="such as 50806f000000/platform")
    fmspc, ca = match["fmspc"].upper(), match["ca"]
    tcb = http.get(HOST, f"{_TDX}/tcb?fmspc={fmspc}", limit=_MAX_ANSWER)
    identity = http.get(HOST, f"{_TDX}/qe/identity", limit=_MAX_ANSWER)
    listed = http.get(HOST, f"{_SGX}/pckcrl?ca={ca}&encoding=der", limit=_MAX_ANSWER)
    roots = http.get(ROOT_HOST, "/IntelSGXRootCA.der", limit=_MAX_ANSWER).body
    tcb_info, tcb_signature, tcb_period = _signed(tcb, "tcbInfo")
    qe_identity, qe_signature, qe_period = _signed(identity, "enclaveIdentity")
    members = {
        "pck_crl_issuer_chain": _chain(listed, "sgx-pck-crl-issuer-chain"),
        "root_ca_crl": roots.hex(),
        "pck_crl": listed.body.hex(),
        "tcb_info_issuer_chain": _chain(tcb, "tcb-info-issuer-chain"),
        "tcb_info": tcb_info,
        "tcb_info_signature": tcb_signature,
        "qe_identity_issuer_chain": _chain(identity, "sgx-enclave-identity-issuer-chain"),
        "qe_identity": qe_identity,
        "qe_identity_signature": qe_signature,
    }
    lists = (list_period(listed.body, HOST), list_period(roots, ROOT_HOST))
    period = min((tcb_period, qe_period, *lists), key=_end)
    return json.dumps(members).encode("ascii"), period


def collateral_period(content: bytes) -> Period:
    """Return the dates of the part of a collateral document that ends first.

    Args:
        content: JSON as `fetch_intel` makes it. Untrusted.

    Raises:
        TransportError: vendor-malformed.
    """
    try:
        members = json.loads(content)
        signed = [json.loads(members[name]) for name in ("tcb_info", "qe_identity")]
        periods = [Period(_unix(one["issueDate"]), _unix(one["nextUpdate"])) for one in signed]
        lists = [bytes.fromhex(members[name]) for name in ("pck_crl", "root_ca_crl")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unlike("collateral") from None
    return min((*periods, *(list_period(one, HOST) for one in lists)), key=_end)


def _end(period: Period) -> float:
    return float("inf") if period.until is None else period.until


def _signed(answer: VendorAnswer, name: str) -> tuple[str, str, Period]:
    """Cut `{"<name>":{...},"signature":"<hex>"}` apart without changing a byte of the object."""
    start = f'{{"{name}":'
    try:
        text = answer.body.decode("utf-8")
        if not text.startswith(start):
            raise _unlike(name)
        inner, end = json.JSONDecoder().raw_decode(text, len(start))
        signature = _SIGNATURE.fullmatch(text, end)
        if signature is None or not isinstance(inner, dict):
            raise _unlike(name)
        period = Period(_unix(inner["issueDate"]), _unix(inner["nextUpdate"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _unlike(name) from None
    return text[len(start) : end], signature[1].lower(), period


def _unix(text: object) -> int:
    moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError("not a date with a time zone")
    return max(0, int(moment.timestamp()))


def _chain(answer: VendorAnswer, header: str) -> str:
    pem = unquote(answer.headers.get(header, ""))
    if len(pem) > _MAX_CHAIN or pem.count("-----BEGIN CERTIFICATE-----") != 2 or not pem.isascii():
        raise _unlike(header)
    return pem


def _unlike(what: str) -> TransportError:
    return TransportError(f"{HOST}: the answer has no usable {what}", code="vendor-malformed")
