"""Run recorded NVIDIA evidence through the product's own verifier.

`run` takes device evidence: a report and its chain, or the JSON list that NVIDIA's tools
write; manifests (RIM) and OCSP answers if the case has them. `run_ocsp` takes OCSP answers for
the certificates of such chains, `run_rim` manifests, `run_tokens` what NVIDIA's service
answers. Inputs may be hex, base64, PEM or binary.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from cryptography import x509

from confide.attest.claims import Claims
from confide.attest.endorsements import EndorsementSource, StapledEndorsements
from confide.attest.factors import FACTORS, FactorSheet
from confide.attest.platforms.nvidia.chain import (
    check_chain,
    device_chain,
    read_pem_chain,
)
from confide.attest.platforms.nvidia.device import SWITCH
from confide.attest.platforms.nvidia.golden import GoldenSet
from confide.attest.platforms.nvidia.nras import read_jwks, verify_tokens
from confide.attest.platforms.nvidia.ocsp import check_answer, read_answers
from confide.attest.platforms.nvidia.requirements import (
    GoldenMeasurements,
    NotRevoked,
    distinct_devices,
)
from confide.attest.platforms.nvidia.rim import (
    Rim,
    check_fits,
    golden_from,
    import_rim,
    signer_chain,
)
from confide.attest.platforms.nvidia.spdm import MAX_REPORT, SIGNATURE_LENGTH, Report
from confide.attest.platforms.nvidia.verify import NvidiaVerifier
from confide.errors import BindingError, EndorsementError
from confide.wire.strict_json import b64url
from evidence_manifest import CaseFiles
from vector_values import Mismatch

__all__ = ["run", "run_ocsp", "run_rim", "run_tokens"]

_PPCIE = 21
_FEATURE_FLAG = 36
_VBIOS = 6
_KIND = device_chain()
_COMPOSITE_ID = x509.ObjectIdentifier("2.23.133.5.4.1")
_HEX = re.compile(rb"[0-9a-fA-F\s]+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-=\s]+")


def run(case: CaseFiles) -> Mapping[str, Any]:
    """Verify device evidence; return the facts that the manifest names."""
    source = _stapled(case)
    if "evidence_json" in case.files:
        devices = [_device(entry, case, source) for entry in _entries(case.one("evidence_json"))]
        for objection in distinct_devices([{"device": one["serial"]} for one in devices]):
            raise objection
        return {"devices": devices}
    raw = _report(case.one("report"))
    facts, claims = _verify(raw, _chain(case.one("chain")), source, case.at)
    _check_answered(case, claims)
    expected = case.case.get("nonce")
    if expected is not None:
        _check_nonce(raw, str(expected).encode())
    golden = _golden(case, claims)
    if golden is not None:
        facts["golden"] = len(golden.measurements)
        facts["mismatch"] = list(golden.mismatches(claims["measurements"]))
    return facts


def run_ocsp(case: CaseFiles) -> Mapping[str, Any]:
    """Check that each answer is about a certificate of the case's chains, and what it says."""
    chains = list(_chains(case))
    status = {
        name: _asked(_binary(answer), chains, case.at)
        for name, answer in zip(case.names["ocsp"], case.files["ocsp"], strict=True)
    }
    return {"status": status}


def run_rim(case: CaseFiles) -> Mapping[str, Any]:
    """Import each manifest of the case."""
    rims = [_rim(case, role) for role in case.files if role.endswith("rim")]
    return {"golden": sum(len(rim.measurements) for rim in rims)}


def run_tokens(case: CaseFiles) -> Mapping[str, Any]:
    """Check a detached EAT with the keys of the case; without keys no signature holds."""
    keys = read_jwks(case.one("jwks")) if "jwks" in case.files else {}
    raw = case.one(next(role for role in case.files if role != "jwks"))
    document = json.loads(raw)
    if isinstance(document, dict):  # NVIDIA's local tool keeps it beside the claims
        raw = json.dumps(document.get("detached_eat", document)).encode()
    nonce = _binary(str(case.case.get("nonce", "")).removeprefix("0x").encode())
    tokens = verify_tokens(raw, keys=keys, nonce=nonce, at=case.at)
    return {"devices": sorted(tokens.devices)}


def _asked(answer: bytes, chains: Sequence[tuple[x509.Certificate, ...]], at: datetime) -> str:
    responses = read_answers([answer])
    if not responses:
        raise EndorsementError("no OCSP answer", code="nv.ocsp_signature")
    for chain in chains:
        for certificate, issuer in pairwise(chain):
            found = check_answer(responses[0], certificate, issuer, at=at)
            if found is None:
                continue
            if found.status == "revoked":
                raise EndorsementError("revoked", code="nv.revoked")
            if found.status == "good":
                return "GOOD"
    raise EndorsementError("the answer names no certificate", code="nv.ocsp_unknown_cert")


def _chains(case: CaseFiles) -> Iterator[tuple[x509.Certificate, ...]]:
    if "chain" in case.files:
        chain = read_pem_chain(_chain(case.one("chain")), _KIND)
        check_chain(chain, _KIND, at=case.at)
        yield chain
    for role in case.files:
        if role.endswith("rim"):
            yield signer_chain(case.one(role), case.at)


def _stapled(case: CaseFiles) -> EndorsementSource:
    """Offer answers and lists of the case to the verifier, as an envelope would."""
    stapled = {
        kind: [b64url(_binary(content)) for content in case.files[kind]]
        for kind in ("ocsp", "crl")
        if kind in case.files
    }
    return StapledEndorsements({"nvidia": stapled})


def _verify(
    raw: bytes, chain: bytes, source: EndorsementSource, at: datetime
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Run the verifier and read the facts off the same report."""
    verifier = NvidiaVerifier()
    genuine = verifier.authenticate(
        raw,
        aux={"chain": chain},
        endorsements=source,
        sheet=FactorSheet((*FACTORS, *verifier.factors)),
        at=at,
    )
    claims: Mapping[str, Any] = genuine.claims
    report = Report.parse(raw)
    switch = claims["kind"] == SWITCH
    facts = {
        "nonce": genuine.report_data.hex(),
        "driver": claims["driver"],
        "vbios": report.opaque.get(_VBIOS, b"").hex(),
        "project": claims["project"],
        "project_sku": claims["project_sku"],
        "chip_sku": claims["chip_sku"],
        "feature_flag": report.opaque.get(_FEATURE_FLAG, b"").hex(),
        "ppcie": "" if switch else report.opaque.get(_PPCIE, b"").hex(),
        "blocks": len(report.blocks),
        "trailing": len(raw) - len(report.signed) - SIGNATURE_LENGTH,
        "fwid_match": claims["fwid"] == "match" and _has_composite_id(chain),
    }
    return facts, claims


def _has_composite_id(chain: bytes) -> bool:
    """The manifest's fact is about this extension; Blackwell's leaf has another (DICE TcbInfo)."""
    leaf = read_pem_chain(chain, _KIND)[0]
    return any(extension.oid == _COMPOSITE_ID for extension in leaf.extensions)


def _device(
    entry: Mapping[str, Any], case: CaseFiles, source: EndorsementSource
) -> Mapping[str, Any]:
    raw = _report(_text(entry, "evidence"))
    facts, claims = _verify(raw, _chain(_text(entry, "certificate")), source, case.at)
    _check_answered(case, claims)
    if "nonce" in entry:
        _check_nonce(raw, _text(entry, "nonce"))
    if "arch" in entry and str(entry["arch"]).upper() != claims["arch"]:
        raise EndorsementError(
            f"the evidence says {entry['arch']}, the device is {claims['arch']}", code="nv.arch"
        )
    return {
        "nonce": facts["nonce"],
        "driver": facts["driver"],
        "feature_flag": facts["feature_flag"],
        "serial": f"0x{claims['device'].lstrip('0')}",
    }


def _entries(raw: bytes) -> list[Mapping[str, Any]]:
    """Find the devices, in a list, below members, or as NVIDIA's conceptual message wrapper."""
    found: list[Mapping[str, Any]] = []
    open_values = [json.loads(raw)]
    while open_values:
        value = open_values.pop(0)
        if isinstance(value, dict) and {"evidence", "certificate"} <= value.keys():
            found.append(value)
        elif isinstance(value, dict):
            open_values += value.values()
        elif isinstance(value, list):
            open_values += value
    if not found:
        raise Mismatch("the evidence lists no device")
    return found


def _golden(case: CaseFiles, claims: Mapping[str, Any]) -> GoldenSet | None:
    """Import the case's manifests, compare, and only then ask whether they fit the device.

    Both questions are asked; the manifest's verdict for a wrong VBIOS is the mismatch.
    """
    rims = [_rim(case, role) for role in case.files if role.endswith("rim")]
    if not rims:
        return None
    drivers = [rim for rim in rims if rim.is_driver]
    others = [rim for rim in rims if not rim.is_driver]
    if not others or (not drivers and claims["kind"] != SWITCH):
        for rim in rims:
            check_fits(rim, claims)
        return None
    golden = golden_from(drivers[0] if drivers else None, others[0])
    renamed = GoldenSet(claims["driver"], claims["vbios"], golden.measurements)
    for objection in GoldenMeasurements((renamed,)).compare(0, claims):
        raise objection
    for rim in rims:
        check_fits(rim, claims)
    return golden


def _rim(case: CaseFiles, role: str) -> Rim:
    return import_rim(case.one(role), case.time("rims_at"))


def _check_answered(case: CaseFiles, claims: Mapping[str, Any]) -> None:
    """A case that brings answers or lists is about what they say: they must be enough."""
    method = next((kind for kind in ("ocsp", "crl") if kind in case.files), None)
    if method is not None:
        held = Claims({"platform": "nvidia", "gpus": (claims,)})
        for objection in NotRevoked(method).objections(held):
            raise objection


def _check_nonce(raw: bytes, expected: bytes) -> None:
    if Report.parse(raw).nonce != _binary(expected.removeprefix(b"0x")):
        raise BindingError("the device answered another nonce", code="nv.nonce_mismatch")


def _text(entry: Mapping[str, Any], name: str) -> bytes:
    """Return a member; the wrapper holds pairs of media type and content."""
    value = entry[name]
    return str(value[1] if isinstance(value, list) else value).encode()


def _chain(content: bytes) -> bytes:
    return content if b"-----BEGIN" in content else _binary(content)


def _report(content: bytes) -> bytes:
    raw = _binary(content)
    if len(raw) > MAX_REPORT:
        raise Mismatch("the report is too large")
    return raw


def _binary(content: bytes) -> bytes:
    """Undo hex or base64, if that is what it is."""
    stripped = content.strip()
    try:
        if _HEX.fullmatch(stripped):
            return bytes.fromhex(stripped.decode("ascii"))
        if _BASE64.fullmatch(stripped):
            packed = b"".join(stripped.split()).translate(bytes.maketrans(b"-_", b"+/"))
            return base64.b64decode(packed.rstrip(b"=") + b"=" * (-len(packed.rstrip(b"=")) % 4))
    except (ValueError, binascii.Error):
        return content
    return content
