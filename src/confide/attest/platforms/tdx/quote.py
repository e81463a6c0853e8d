"""Read a TDX quote: header, TD report and signature data, each length bounded.

Versions 4 and 5 are read. Version 5 says which kind of body follows: 2 is that of version 4
(TDX 1.0), 3 adds the service TD (TDX 1.5), 4 adds what a future module reports. SGX quotes
are refused here, before anything is checked.

Sources: Intel TDX DCAP Quoting Library API, appendix A.3 and A.4 (quote formats); Intel
Trust Domain Extensions, TDREPORT_STRUCT. Integers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from confide.errors import EvidenceError

__all__ = ["MAX_QUOTE", "Quote", "TdReport"]

MAX_QUOTE: Final = 16 * 1024
"""Largest quote with its padding, in bytes; recorded ones have 4,936 to 8,000."""

HEADER_LENGTH: Final = 48
QE_REPORT_LENGTH: Final = 384
_SIGNATURE: Final = 64
_KEY: Final = 64
_TDX: Final = 0x81
_ECDSA_P256: Final = 2
_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_QE_CERTIFICATION: Final = 6
_PCK_CHAIN: Final = 5

_TD_10: Final = 584
_TD_15: Final = 648
_TD_15_EXTENDED: Final = 885
_BODIES: Final = {2: _TD_10, 3: _TD_15, 4: _TD_15_EXTENDED}
_REGISTERS: Final = 4
_SERVICE_TDS: Final = (_TD_15 + 81, _TD_15 + 181)
"""Where a body of type 4 has the hashes of its service TDs, at the start and now."""


@dataclass(frozen=True)
class TdReport:
    """What the TDX module says about the TD. All fields are as in the quote.

    Attributes:
        tee_tcb_svn: 16 bytes: version of the module, its major version, of the loader.
        mr_seam: 48 bytes: measurement of the TDX module.
        mr_signer_seam: 48 bytes: its signer; zero for Intel's.
        seam_attributes: 8 bytes.
        td_attributes: 8 bytes; see `requirements`.
        xfam: 8 bytes: extended features the TD may use.
        mr_td: 48 bytes: measurement of what was loaded at the start.
        mr_config_id: 48 bytes, of the host.
        mr_owner: 48 bytes, of the host.
        mr_owner_config: 48 bytes, of the host.
        rtmrs: Four times 48 bytes: registers the TD extends.
        report_data: 64 bytes, of the TD.
        mr_service_td: 48 bytes: service TDs bound to this one; zero if none. Zero in
            bodies of TDX 1.0, which know no service TD.
        service_td_hashes: Twice 48 bytes, of the service TDs at the start and now. Only in
            bodies of type 4, else empty.
    """

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmrs: tuple[bytes, ...]
    report_data: bytes
    mr_service_td: bytes
    service_td_hashes: tuple[bytes, ...]

    @property
    def service_td(self) -> bytes:
        """48 zero bytes if no service TD is bound, whichever field would say so."""
        bound = [one for one in (self.mr_service_td, *self.service_td_hashes) if any(one)]
        return bound[0] if bound else self.mr_service_td

    @classmethod
    def parse(cls, body: bytes) -> TdReport:
        """Read a body whose length was checked: 584 bytes or more."""
        fields = _Fields(body)
        names = {
            "tee_tcb_svn": 16, "mr_seam": 48, "mr_signer_seam": 48, "seam_attributes": 8,
            "td_attributes": 8, "xfam": 8, "mr_td": 48, "mr_config_id": 48, "mr_owner": 48,
            "mr_owner_config": 48,
        }  # fmt: skip
        head = {name: fields.take(length) for name, length in names.items()}
        rtmrs = tuple(fields.take(48) for _ in range(_REGISTERS))
        report_data = fields.take(64)
        fields_15 = body[_TD_10:_TD_15]
        return cls(
            **head,
            rtmrs=rtmrs,
            report_data=report_data,
            mr_service_td=fields_15[16:] or bytes(48),
            service_td_hashes=tuple(body[at : at + 48] for at in _SERVICE_TDS if at < len(body)),
        )


@dataclass(frozen=True)
class Quote:
    """One quote, without what follows its signature data.

    Attributes:
        version: 4 or 5.
        body_type: 2, 3 or 4; 2 for version 4.
        report: The TD report.
        signed: Header and body: what the attestation key signs.
        signature: 64 bytes, r then s, big-endian.
        attestation_key: 64 bytes, x then y of a P-256 point.
        qe_report: 384 bytes: the quoting enclave's own SGX report.
        qe_report_signature: 64 bytes, by the PCK.
        qe_auth_data: What the quoting enclave hashed with its key.
        pck_chain: PEM, leaf first.
        trailing: How many bytes followed. Nothing signs them.
    """

    version: int
    body_type: int
    report: TdReport
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    attestation_key: bytes = field(repr=False)
    qe_report: bytes = field(repr=False)
    qe_report_signature: bytes = field(repr=False)
    qe_auth_data: bytes = field(repr=False)
    pck_chain: bytes = field(repr=False)
    trailing: int

    @classmethod
    def parse(cls, raw: bytes) -> Quote:
        """Read a quote.

        Args:
            raw: At most 16 KiB, untrusted.

        Raises:
            EvidenceError: tdx.truncated, .quote_version, .tee_type, .qe_vendor,
                .body_type, .body_size or .cert_type.
        """
        if len(raw) > MAX_QUOTE:
            raise _refuse("truncated", f"a quote of {len(raw)} bytes; at most {MAX_QUOTE}")
        fields = _Fields(raw)
        version = _read_header(fields.take(HEADER_LENGTH))
        body_type, size = _read_body_type(fields) if version == 5 else (2, _TD_10)
        report = TdReport.parse(fields.take(size))
        signed = raw[: fields.at]
        signature_data = _Fields(fields.take(fields.integer(4)))
        trailing = len(raw) - fields.at
        signature, key = signature_data.take(_SIGNATURE), signature_data.take(_KEY)
        certification = _Fields(_certification(signature_data, _QE_CERTIFICATION))
        qe_report = certification.take(QE_REPORT_LENGTH)
        qe_report_signature = certification.take(_SIGNATURE)
        qe_auth_data = certification.take(certification.integer(2))
        return cls(
            version=version,
            body_type=body_type,
            report=report,
            signed=signed,
            signature=signature,
            attestation_key=key,
            qe_report=qe_report,
            qe_report_signature=qe_report_signature,
            qe_auth_data=qe_auth_data,
            pck_chain=_certification(certification, _PCK_CHAIN),
            trailing=trailing,
        )


class _Fields:
    """Takes fields from the front of untrusted bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes.

        Raises:
            EvidenceError: tdx.truncated.
        """
        if length > len(self._content) - self.at:
            raise _refuse("truncated", f"a field of {length} bytes is cut off")
        self.at += length
        return self._content[self.at - length : self.at]

    def integer(self, length: int) -> int:
        """Return the next `length` bytes as a little-endian integer."""
        return int.from_bytes(self.take(length), "little")


def _refuse(code: str, message: str) -> EvidenceError:
    return EvidenceError(message, code=f"tdx.{code}")


def _read_header(header: bytes) -> int:
    version = int.from_bytes(header[0:2], "little")
    if version not in (4, 5):
        raise _refuse("quote_version", f"a quote of version {version}; 4 and 5 are read")
    key_type = int.from_bytes(header[2:4], "little")
    if key_type != _ECDSA_P256:
        raise _refuse("quote_version", f"an attestation key of type {key_type}, not ECDSA P-256")
    tee_type = int.from_bytes(header[4:8], "little")
    if tee_type != _TDX:
        raise _refuse("tee_type", f"a quote of TEE type {tee_type:#x}, not TDX")
    if header[12:28] != _QE_VENDOR:
        raise _refuse("qe_vendor", "a quoting enclave that is not Intel's")
    return version


def _read_body_type(fields: _Fields) -> tuple[int, int]:
    body_type, size = fields.integer(2), fields.integer(4)
    if body_type not in _BODIES:
        raise _refuse("body_type", f"a body of type {body_type}; 2, 3 and 4 are TD reports")
    if size != _BODIES[body_type]:
        raise _refuse(
            "body_size", f"a body of {size} bytes; type {body_type} has {_BODIES[body_type]}"
        )
    return body_type, size


def _certification(fields: _Fields, wanted: int) -> bytes:
    kind = fields.integer(2)
    if kind != wanted:
        raise _refuse("cert_type", f"certification data of type {kind}, not {wanted}")
    return fields.take(fields.integer(4))
