"""NVIDIA: SPDM report, chain, OCSP, revocation lists, manifests (RIM), tokens (NRAS)."""

from __future__ import annotations

import base64
import json
from functools import cache
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.unit.attest.nvidia import mint

from confide.attest.endorsements import StapledEndorsements
from confide.attest.factors import FACTORS, FactorSheet
from confide.attest.platforms.nvidia.chain import (
    check_chain,
    device_chain,
    read_pem_chain,
)
from confide.attest.platforms.nvidia.crl import check_list
from confide.attest.platforms.nvidia.device import read_device
from confide.attest.platforms.nvidia.firmware_id import compare_firmware
from confide.attest.platforms.nvidia.nras import key_from_x5c, read_jwks, verify_tokens
from confide.attest.platforms.nvidia.ocsp import check_answer, read_answers
from confide.attest.platforms.nvidia.rim import import_rim, signer_chain
from confide.attest.platforms.nvidia.spdm import Report
from confide.attest.platforms.nvidia.verify import NvidiaVerifier
from confide.errors import EvidenceError
from confide.wire.strict_json import b64url
from fuzz.oracle import Target
from fuzz.vectors import binary, read, read_json, utc

_AT = utc("2025-08-21T12:00:00")
_RIM_AT = utc("2025-10-24T20:00:00")
_KIND = device_chain()
_PACKAGE = "confide.attest.platforms.nvidia"
_HOPPER = "nvidia/hopper-550.90.07"
_SWITCH = "nvidia/nvswitch-ls10"


@cache
def _chain() -> tuple[x509.Certificate, ...]:
    return read_pem_chain(read(f"{_HOPPER}/chain.pem"), _KIND)


def _report(raw: bytes) -> object:
    report = Report.parse(raw)
    # What follows the signature check is run without it, on unsigned bytes.
    return read_device(report, _chain()), compare_firmware(_chain()[0], report.opaque.get(20))


def _pem(raw: bytes) -> object:
    return check_chain(read_pem_chain(raw, _KIND), _KIND, at=_AT)


def _ocsp(raw: bytes) -> object:
    answers = read_answers([raw])
    for response in answers:
        for certificate, issuer in pairwise(_chain()):
            check_answer(response, certificate, issuer, at=_AT)
    if not answers:
        raise EvidenceError("no answer")
    return answers


def _list(raw: bytes) -> object:
    identity, provisioner = mint.GPU.chain()[1:3]
    return check_list(raw, identity.certificate, provisioner.certificate, at=mint.NOW)


def _firmware(raw: bytes) -> object:
    leaf = mint.IDENTITY.issue("leaf", ca=False, extensions=[(mint.fwid_extension(raw), False)])
    return compare_firmware(leaf.certificate, mint.FIRMWARE)


def _rim(raw: bytes) -> object:
    return signer_chain(raw, _RIM_AT), import_rim(raw, _RIM_AT)


def _tokens(raw: bytes) -> object:
    keys = read_jwks(mint.jwks())
    return verify_tokens(raw, keys=keys, nonce=mint.NONCE, at=mint.NOW)


def _claims(raw: bytes) -> object:
    """Sign whatever claims come, so that what follows the signature is reached."""
    try:
        claims = json.loads(raw)
    except (ValueError, RecursionError):
        raise EvidenceError("not JSON") from None
    if not isinstance(claims, dict):
        raise EvidenceError("not an object")
    return _tokens(mint.detached(overall=claims, device=claims))


def _x5c(raw: bytes) -> object:
    return key_from_x5c(
        raw.decode("latin-1").split(","), anchors=[mint.ROOT.certificate], at=mint.NOW
    )


def _evidence(raw: bytes) -> object:
    answers = [b64url(binary(read(f"{_HOPPER}/ocsp/gpu_certificate_l{n}.b64"))) for n in (2, 3, 4)]
    return NvidiaVerifier().authenticate(
        raw,
        aux={"chain": read(f"{_HOPPER}/chain.pem")},
        endorsements=StapledEndorsements({"nvidia": {"ocsp": answers}}),
        sheet=FactorSheet((*FACTORS, *NvidiaVerifier().factors)),
        at=_AT,
    )


def _chain_of_x5c() -> bytes:
    chain = (mint.IDENTITY, mint.ROOT)
    return b",".join(base64.b64encode(one.certificate.public_bytes(Encoding.DER)) for one in chain)


def targets() -> list[Target]:
    """Return the targets of this platform."""
    reports = tuple(
        binary(read(name))
        for name in (
            f"{_HOPPER}/report.hex",
            f"{_SWITCH}/report.hex",
            "nvidia/hopper-580.159.03/report.hex",
        )
    )
    answers = tuple(
        binary(read(f"{_HOPPER}/ocsp/{name}.b64"))
        for name in ("gpu_certificate_l2", "gpu_certificate_l3", "gpu_driver_rim_l3")
    )
    identity, provisioner = mint.GPU.chain()[1:3]
    tokens = mint.detached()
    return [*_of_devices(reports, answers), *_of_services(tokens, identity, provisioner)]


def _of_devices(reports: tuple[bytes, ...], answers: tuple[bytes, ...]) -> list[Target]:
    return [
        Target(
            "nvidia-report",
            _report,
            reports,
            (f"{_PACKAGE}.spdm:Report.parse", f"{_PACKAGE}.device:read_device"),
        ),
        Target(
            "nvidia-chain",
            _pem,
            (read(f"{_HOPPER}/chain.pem"), read(f"{_SWITCH}/chain.pem")),
            (f"{_PACKAGE}.chain:read_pem_chain", f"{_PACKAGE}.chain:check_chain"),
        ),
        Target(
            "nvidia-firmware-id",
            _firmware,
            (
                mint.composite(mint.FIRMWARE, mint.ROOT.key),
                mint.tcb_info(mint.FIRMWARE, bytes(48)),
            ),
            (f"{_PACKAGE}.firmware_id:compare_firmware",),
        ),
        Target(
            "nvidia-ocsp",
            _ocsp,
            answers,
            (f"{_PACKAGE}.ocsp:read_answers", f"{_PACKAGE}.ocsp:check_answer"),
        ),
        Target(
            "nvidia-rim",
            _rim,
            (read(f"{_HOPPER}/driver-rim.xml"), read(f"{_SWITCH}/bios-rim.xml")),
            (
                f"{_PACKAGE}.rim:import_rim",
                f"{_PACKAGE}.rim:signer_chain",
                f"{_PACKAGE}.xml_signature:read_signed_xml",
            ),
            needs="lxml",
        ),
        Target(
            "nvidia-evidence",
            _evidence,
            reports,
            (f"{_PACKAGE}.verify:NvidiaVerifier.authenticate",),
        ),
    ]


def _of_services(
    tokens: bytes, identity: mint.Authority, provisioner: mint.Authority
) -> list[Target]:
    return [
        Target(
            "nvidia-crl",
            _list,
            (
                mint.revocation_list(provisioner),
                mint.revocation_list(provisioner, identity),
            ),
            (f"{_PACKAGE}.crl:check_list",),
        ),
        Target(
            "nvidia-token",
            _tokens,
            (
                tokens,
                read("nvidia/eat/nras-hopper-v3.json"),
                read("nvidia/eat/unsigned-local-nvat.json"),
            ),
            (f"{_PACKAGE}.nras:verify_tokens",),
        ),
        Target(
            "nvidia-token-claims",
            _claims,
            (
                json.dumps({"hwmodel": "GH100"}).encode(),
                json.dumps({"submods": {"GPU-0": ["DIGEST", ["SHA-256", ""]]}}).encode(),
                json.dumps(mint.token_claims()).encode(),
            ),
            (f"{_PACKAGE}.nras:verify_tokens",),
        ),
        Target("nvidia-jwks", read_jwks, (mint.jwks(),), (f"{_PACKAGE}.nras:read_jwks",)),
        Target(
            "nvidia-x5c",
            _x5c,
            (
                _chain_of_x5c(),
                ",".join(read_json("nvidia/eat/nras-x5c.json")["x5c"]).encode(),
            ),
            (f"{_PACKAGE}.nras:key_from_x5c",),
        ),
    ]
