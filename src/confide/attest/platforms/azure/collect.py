"""Collect evidence in a confidential virtual machine of Azure.

There the guest does not talk to the processor. Microsoft's paravisor does, and leaves a
report in the virtual TPM: the hardware's report covers the SHA-256 of a JSON document, which
holds the TPM's attestation key and 64 bytes of ours ("user-data").

    1. Write our 64 bytes to NV index 0x01400002.
    2. Read the paravisor's report from 0x01400001 until it holds them; it is made anew.
    3. Have the TPM sign all PCRs, with SHA-256 of our 64 bytes as the nonce.
    4. SNP: the report is in there; certificates come from the metadata service.
       TDX: a TDREPORT is in there; the metadata service turns it into a quote.

The envelope's `cpu` then is: `report` the SNP report or TDX quote; `aux` with "hcl_runtime"
(the JSON), "tpm_message", "tpm_signature" and "tpm_pcrs" (24 times 32 bytes).

The metadata service is the host: what it returns is untrusted, and checked by the client.

Source: attestation.md section 5.4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from confide.attest.binding import REPORT_DATA_LENGTH
from confide.attest.collector import CollectedReport
from confide.attest.evidence import CpuReport
from confide.attest.platforms.azure.tpm import Tpm
from confide.attest.platforms.snp import collect as snp
from confide.attest.platforms.tdx import collect as tdx
from confide.errors import EvidenceError
from confide.wire.strict_json import b64url

__all__ = [
    "METADATA_SERVICE",
    "AzureSnpCollector",
    "AzureTdxCollector",
    "HclReport",
    "MetadataService",
    "read_hcl",
    "read_paravisor",
    "user_data",
]

METADATA_SERVICE: Final = "169.254.169.254:80"

_REPORT_INDEX: Final = 0x01400001
_USER_DATA_INDEX: Final = 0x01400002
_ATTESTATION_KEY: Final = 0x81000003
_HEADER, _HARDWARE = 32, 1184
_RUNTIME_AT: Final = _HEADER + _HARDWARE + 20
_SNP, _TDX, _SHA256 = 2, 4, 1
_SNP_REPORT, _TD_REPORT = 1184, 1024
_MAX_RUNTIME: Final = 8 * 1024
_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.5
_TIMEOUT_S: Final = 30.0
_MAX_ANSWER: Final = 256 * 1024


class HclReport(NamedTuple):
    """What the paravisor left in the TPM.

    Attributes:
        kind: 2 for SEV-SNP, 4 for TDX.
        hardware: The SNP report (1184 bytes) or TDREPORT (1024 bytes).
        runtime: The JSON whose SHA-256 is in the hardware's report.
    """

    kind: int
    hardware: bytes
    runtime: bytes


class MetadataService:
    """Azure's metadata service. It is plain HTTP, and no proxy may stand between.

    Args:
        address: Host and port.
        timeout_s: Longest wait; a quote takes seconds.
    """

    def __init__(self, address: str = METADATA_SERVICE, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s

    def certificates(self) -> tuple[bytes, bytes]:
        """Return the VCEK and its chain (ASK, then ARK), both PEM.

        Raises:
            EvidenceError: azure.metadata.
        """
        answer = self._ask("GET", "/metadata/THIM/amd/certification", None)
        try:
            return answer["vcekCert"].encode("ascii"), answer["certificateChain"].encode("ascii")
        except (KeyError, AttributeError, UnicodeError):
            raise EvidenceError(
                "the metadata service sent no certificates", code="azure.metadata"
            ) from None

    def quote(self, td_report: bytes) -> bytes:
        """Turn a TDREPORT into a quote.

        Raises:
            EvidenceError: azure.metadata.
        """
        body = json.dumps({"report": b64url(td_report)}).encode("ascii")
        try:
            text = str(self._ask("POST", "/acc/tdquote", body)["quote"])
            return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (KeyError, binascii.Error, ValueError):
            raise EvidenceError(
                "the metadata service sent no quote", code="azure.metadata"
            ) from None

    def _ask(self, method: str, path: str, body: bytes | None) -> Mapping[str, str]:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout_s)
        headers = {"Metadata": "true"} | ({"Content-Type": "application/json"} if body else {})
        try:
            connection.request(method, path, body, headers)
            with connection.getresponse() as answer:
                raw, status = answer.read(_MAX_ANSWER + 1), answer.status
        except (OSError, http.client.HTTPException) as error:
            raise EvidenceError(
                f"the metadata service at {self._address} does not answer", code="azure.metadata"
            ) from error
        finally:
            connection.close()
        try:
            parsed = json.loads(raw) if status == 200 and len(raw) <= _MAX_ANSWER else None
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise EvidenceError(
                f"the metadata service answers {method} {path} with status {status} and "
                f"{len(raw)} bytes",
                code="azure.metadata",
            )
        return parsed


class _AzureCollector:
    """What both platforms share; see the module.

    Args:
        tpm: The virtual TPM.
        metadata: Azure's metadata service.
        pause: Waits that many seconds between two looks at the report.
    """

    _kind: int
    _hardware_data: Callable[[bytes], bytes]  # finds REPORT_DATA in the hardware's report

    def __init__(
        self,
        tpm: Tpm | None = None,
        *,
        metadata: MetadataService | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._tpm = tpm or Tpm()
        self._metadata = metadata or MetadataService()
        self._pause = pause

    def report_data_of(self, cpu: CpuReport) -> bytes:
        """Return our 64 bytes, if the hardware's report covers them."""
        runtime = cpu.aux.get("hcl_runtime", b"")
        digest = self._hardware_data(cpu.report)[:32]
        if not hmac.compare_digest(digest, hashlib.sha256(runtime).digest()):
            raise EvidenceError(
                "the hardware's report is about another runtime document",
                code="azure.runtime_hash",
            )
        return user_data(runtime)

    def _collect(self, report_data: bytes) -> tuple[HclReport, dict[str, bytes]]:
        if len(report_data) != REPORT_DATA_LENGTH:
            raise ValueError(f"report_data must be 64 bytes, not {len(report_data)}")
        self._tpm.write_index(_USER_DATA_INDEX, report_data)
        hcl = self._wait_for(report_data)
        quote = self._tpm.quote(_ATTESTATION_KEY, hashlib.sha256(report_data).digest())
        return hcl, {
            "hcl_runtime": hcl.runtime,
            "tpm_message": quote.message,
            "tpm_signature": quote.signature,
            "tpm_pcrs": b"".join(quote.pcrs),
        }

    def _wait_for(self, report_data: bytes) -> HclReport:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(_PAUSE_S)
            hcl = read_hcl(self._tpm.read_index(_REPORT_INDEX))
            if hcl.kind != self._kind:
                raise EvidenceError(
                    f"the paravisor's report is of type {hcl.kind}, not {self._kind}",
                    code="azure.hcl_header",
                    hint="platform in the settings is azure-sev-snp (2) or azure-tdx (4)",
                )
            if hmac.compare_digest(user_data(hcl.runtime), report_data):
                return hcl
        raise EvidenceError(
            f"the paravisor did not take our data within {_ATTEMPTS * _PAUSE_S:g} s",
            code="azure.user_data",
        )


class AzureSnpCollector(_AzureCollector):
    """A `CpuCollector` for SEV-SNP behind Azure's paravisor."""

    type: Final = "azure-sev-snp"
    _kind = _SNP
    _hardware_data = staticmethod(snp.read_report_data)

    def report(self, report_data: bytes) -> CollectedReport:
        """See `CpuCollector.report`.

        Raises:
            EvidenceError: A code of the group azure or snp.
            ValueError: `report_data` is not 64 bytes.
        """
        hcl, aux = self._collect(report_data)
        try:
            key, chain = self._metadata.certificates()
        except EvidenceError:
            # A client looks for certificates elsewhere; evidence does not depend on them.
            return CollectedReport(hcl.hardware, aux)
        return CollectedReport(hcl.hardware, aux, {"snp": {"vek": (key,), "chain": (chain,)}})


class AzureTdxCollector(_AzureCollector):
    """A `CpuCollector` for TDX behind Azure's paravisor."""

    type: Final = "azure-tdx"
    _kind = _TDX
    _hardware_data = staticmethod(tdx.read_report_data)

    def report(self, report_data: bytes) -> CollectedReport:
        """See `CpuCollector.report`.

        Raises:
            EvidenceError: A code of the group azure or tsm.
            ValueError: `report_data` is not 64 bytes.
        """
        hcl, aux = self._collect(report_data)
        return CollectedReport(tdx.without_padding(self._metadata.quote(hcl.hardware)), aux)


def read_hcl(raw: bytes) -> HclReport:
    """Read the paravisor's report.

    Args:
        raw: Header (32 bytes), hardware report (1184 bytes), five u32 and the JSON.

    Raises:
        EvidenceError: azure.hcl_header.
    """
    if raw[:4] != b"HCLA" or len(raw) < _RUNTIME_AT:
        raise EvidenceError("not a report of Azure's paravisor", code="azure.hcl_header")
    fields = raw[_HEADER + _HARDWARE : _RUNTIME_AT]
    kind, hash_type, length = (int.from_bytes(fields[at : at + 4], "little") for at in (8, 12, 16))
    if hash_type != _SHA256 or not 0 < length <= min(_MAX_RUNTIME, len(raw) - _RUNTIME_AT):
        raise EvidenceError(
            f"hash type {hash_type} and {length} bytes of JSON", code="azure.hcl_header"
        )
    hardware_length = {_SNP: _SNP_REPORT, _TDX: _TD_REPORT}.get(kind)
    if hardware_length is None:
        raise EvidenceError(f"unknown report type {kind}", code="azure.hcl_header")
    return HclReport(
        kind, raw[_HEADER : _HEADER + hardware_length], raw[_RUNTIME_AT : _RUNTIME_AT + length]
    )


def read_paravisor(tpm: Tpm) -> str:
    """Ask the TPM which platform the paravisor runs on: "azure-sev-snp" or "azure-tdx".

    Raises:
        EvidenceError: azure.tpm or azure.hcl_header; there is no paravisor.
    """
    hcl = read_hcl(tpm.read_index(_REPORT_INDEX))
    return AzureSnpCollector.type if hcl.kind == _SNP else AzureTdxCollector.type


def user_data(runtime: bytes) -> bytes:
    """Return our 64 bytes from the paravisor's JSON.

    Raises:
        EvidenceError: azure.user_data.
    """
    try:
        found = bytes.fromhex(json.loads(runtime)["user-data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        found = b""
    if len(found) != REPORT_DATA_LENGTH:
        raise EvidenceError("the runtime document has no user-data", code="azure.user_data")
    return found
