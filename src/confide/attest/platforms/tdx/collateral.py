"""Read and authenticate Intel's collateral: revocation lists, TCB info and QE identity.

    {"pck_crl_issuer_chain": PEM, "root_ca_crl": hex, "pck_crl": hex,
     "tcb_info_issuer_chain": PEM, "tcb_info": text, "tcb_info_signature": hex,
     "qe_identity_issuer_chain": PEM, "qe_identity": text, "qe_identity_signature": hex}

This is the form that PCCS clients store. `tcb_info` and `qe_identity` are the exact texts
that Intel signed; they are parsed only after their signature held.

Sources: Intel SGX and TDX Provisioning Certification Service API version 4; Intel SGX PCK
Certificate and CRL Profile Specification 1.5, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from confide.attest.platforms.tdx.chain import (
    INTEL_ROOT,
    MALFORMED,
    PCK_CA_NAMES,
    TCB_SIGNING_NAME,
    PinnedRoot,
    check_chain,
    key_of,
    read_chain,
    signed_by,
)
from confide.attest.strict_json import exact_members, read_object, read_text
from confide.errors import EndorsementError, EvidenceError

__all__ = [
    "Collateral",
    "RevocationList",
    "SignedDocument",
    "check_not_revoked",
    "check_signed",
    "read_lists",
]

MAX_COLLATERAL: Final = 256 * 1024
_MAX_DOCUMENT: Final = 128 * 1024
_MAX_CHAIN: Final = 16 * 1024
_MAX_LIST: Final = 64 * 1024
_SIGNATURE: Final = 64
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_BINARY: Final = {
    "root_ca_crl": _MAX_LIST,
    "pck_crl": _MAX_LIST,
    "tcb_info_signature": _SIGNATURE,
    "qe_identity_signature": _SIGNATURE,
}
_TEXT: Final = {
    "pck_crl_issuer_chain": _MAX_CHAIN,
    "tcb_info_issuer_chain": _MAX_CHAIN,
    "tcb_info": _MAX_DOCUMENT,
    "qe_identity_issuer_chain": _MAX_CHAIN,
    "qe_identity": _MAX_DOCUMENT,
}


def _refuse(code: str, message: str) -> EndorsementError:
    return EndorsementError(message, code=f"tdx.{code}")


@dataclass(frozen=True)
class Collateral:
    """What an endorsement holds, not yet checked. Texts as ASCII, lists as DER."""

    pck_crl_issuer_chain: bytes = field(repr=False)
    root_ca_crl: bytes = field(repr=False)
    pck_crl: bytes = field(repr=False)
    tcb_info_issuer_chain: bytes = field(repr=False)
    tcb_info: bytes = field(repr=False)
    tcb_info_signature: bytes = field(repr=False)
    qe_identity_issuer_chain: bytes = field(repr=False)
    qe_identity: bytes = field(repr=False)
    qe_identity_signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, content: bytes) -> Collateral:
        """Read the JSON.

        Args:
            content: At most 256 KiB, untrusted.

        Raises:
            EvidenceError: envelope.size, .json or .duplicate_key.
        """
        members = read_object(content, limit=MAX_COLLATERAL)
        exact_members(members, required=(*_TEXT, *_BINARY), optional=("pck_certificate_chain",))
        texts = {
            name: read_text(members[name], name, limit=limit).encode()
            for name, limit in _TEXT.items()
        }
        binary = {name: _unhex(members[name], name, limit) for name, limit in _BINARY.items()}
        return cls(**texts, **binary)


@dataclass(frozen=True)
class RevocationList:
    """A list whose signature and dates were checked.

    Attributes:
        serials: Serial numbers that are revoked.
        issued_at: `thisUpdate`.
        valid_until: `nextUpdate`.
        number: Its CRL number, or None.
    """

    serials: frozenset[int] = field(repr=False)
    issued_at: datetime
    valid_until: datetime
    number: int | None


@dataclass(frozen=True)
class SignedDocument:
    """A document of Intel whose signature and dates were checked.

    Attributes:
        members: Its members.
        issued_at: `issueDate`.
        valid_until: The earlier of `nextUpdate` and the end of its certificates.
        number: `tcbEvaluationDataNumber`.
    """

    members: Mapping[str, object] = field(repr=False)
    issued_at: datetime
    valid_until: datetime
    number: int


def read_lists(
    collateral: Collateral,
    pck_chain: Sequence[x509.Certificate],
    *,
    at: datetime,
    roots: Sequence[PinnedRoot] = (INTEL_ROOT,),
) -> tuple[RevocationList, RevocationList]:
    """Check signature, issuer and dates of both revocation lists.

    Args:
        collateral: Holds the lists.
        pck_chain: Leaf, CA and root; checked before.
        at: Now.
        roots: Accepted roots.

    Returns:
        The list of the root and that of the PCK's CA.

    Raises:
        EndorsementError: tdx.root_not_pinned, .chain_signature, .cert_expired,
            .crl_signature or .crl_expired.
    """
    _, authority, root = pck_chain
    issuers = read_chain(collateral.pck_crl_issuer_chain)
    check_chain(issuers, (tuple(PCK_CA_NAMES),), roots=roots, at=at)
    by_root = _read_list(collateral.root_ca_crl, root, at)
    by_authority = _read_list(collateral.pck_crl, issuers[0], at)
    if issuers[0].subject != authority.subject or issuers[0].public_key() != key_of(authority):
        raise _refuse("crl_signature", "the revocation list is that of another CA")
    return by_root, by_authority


def check_not_revoked(
    lists: tuple[RevocationList, RevocationList], pck_chain: Sequence[x509.Certificate]
) -> None:
    """Refuse a platform one of whose certificates Intel has revoked.

    Args:
        lists: That of the root and that of the PCK's CA.
        pck_chain: Leaf, CA and root; checked before.

    Raises:
        EndorsementError: tdx.revoked.
    """
    by_root, by_authority = lists
    leaf, authority, root = pck_chain
    revoked = by_root.serials & {authority.serial_number, root.serial_number}
    if revoked or leaf.serial_number in by_authority.serials:
        raise _refuse("revoked", "Intel has revoked a certificate of this platform")


def check_signed(
    text: bytes,
    signature: bytes,
    chain_pem: bytes,
    name: str,
    *,
    revoked: frozenset[int],
    at: datetime,
    roots: Sequence[PinnedRoot] = (INTEL_ROOT,),
) -> SignedDocument:
    """Check a document that Intel's TCB signing key signed, then read it.

    Args:
        text: Exactly what was signed.
        signature: 64 bytes.
        chain_pem: TCB signing certificate and root.
        name: "tcb_info" or "qe_identity", which begins the codes.
        revoked: Serial numbers that the root has revoked.
        at: Now.
        roots: Accepted roots.

    Raises:
        EndorsementError: tdx.root_not_pinned, .chain_signature, .cert_expired, .revoked,
            .<name>_signature, .<name>_expired or .collateral_kind.
    """
    chain = read_chain(chain_pem)
    chain_end = check_chain(chain, (TCB_SIGNING_NAME,), roots=roots, at=at)
    if chain[0].serial_number in revoked:
        raise _refuse("revoked", "Intel has revoked the certificate that signs TCB data")
    if not signed_by(key_of(chain[0]), signature, text):
        raise _refuse(f"{name}_signature", f"the signature of {name} does not hold")
    try:
        members = read_object(text, limit=_MAX_DOCUMENT)
    except EvidenceError:
        raise _refuse("collateral_kind", f"{name} is no JSON object") from None
    issued_at, until = (_moment(members.get(key), key) for key in ("issueDate", "nextUpdate"))
    if not issued_at <= at <= until:
        raise _refuse(f"{name}_expired", f"{name} is valid from {issued_at} to {until}")
    number = members.get("tcbEvaluationDataNumber")
    if type(number) is not int:
        raise _refuse("collateral_kind", f"{name} has no tcbEvaluationDataNumber")
    return SignedDocument(members, issued_at, min(until, chain_end), number)


def _read_list(der: bytes, issuer: x509.Certificate, at: datetime) -> RevocationList:
    try:
        listed = x509.load_der_x509_crl(der)
        genuine = listed.issuer == issuer.subject and listed.is_signature_valid(key_of(issuer))
    except MALFORMED:
        genuine = False
    if not genuine:
        raise _refuse("crl_signature", "the signature of a revocation list does not hold")
    try:
        serials = frozenset(entry.serial_number for entry in listed)
        issued_at, until = listed.last_update_utc, listed.next_update_utc
        number = _number(listed)
    except MALFORMED:
        raise _refuse("collateral_kind", "a revocation list is malformed") from None
    if until is None or not issued_at <= at <= until:
        raise _refuse("crl_expired", f"a revocation list is valid from {issued_at} to {until}")
    return RevocationList(serials, issued_at, until, number)


def _number(listed: x509.CertificateRevocationList) -> int | None:
    known = (x509.CRLNumber, x509.AuthorityKeyIdentifier)
    for extension in listed.extensions:
        if extension.critical and not isinstance(extension.value, known):
            raise ValueError("a critical extension that is not understood")
    try:
        return listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _unhex(value: object, name: str, limit: int) -> bytes:
    text = read_text(value, name, limit=2 * limit)
    if len(text) % 2 or not set(text) <= _HEX:
        raise EvidenceError(f"{name} is not hexadecimal", code="envelope.json")
    return bytes.fromhex(text)


def _moment(value: object, name: str) -> datetime:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise _refuse("collateral_kind", f"{name} is not a date and time")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        raise _refuse("collateral_kind", f"{name} is not a date and time") from None
