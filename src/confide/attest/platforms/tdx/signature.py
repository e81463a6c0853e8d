"""Check that a quote is genuine, with nothing but what it holds and Intel's root.

    PCK chain to the root - PCK signed the quoting enclave's report - the report names the
    attestation key - the attestation key signed header and body

Whether platform, module and quoting enclave are up to date or revoked is another question
and needs collateral; see `collateral` and `tcb`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from confide.attest.platforms.tdx.chain import (
    INTEL_ROOT,
    PCK_CA_NAMES,
    PCK_NAME,
    PinnedRoot,
    check_chain,
    common_name,
    key_of,
    read_chain,
    signed_by,
)
from confide.attest.platforms.tdx.pck import Platform, read_platform
from confide.attest.platforms.tdx.quote import Quote
from confide.errors import EndorsementError

__all__ = ["SignedQuote", "check_signature"]

_REPORT_DATA: Final = slice(320, 384)


@dataclass(frozen=True)
class SignedQuote:
    """A quote whose signatures hold.

    Attributes:
        quote: The quote.
        chain: PCK certificate, its CA, the root.
        platform: What the PCK certificate says.
        authority: "platform" or "processor": which CA issued it.
        chain_end: Earliest end of the chain.
    """

    quote: Quote
    chain: tuple[x509.Certificate, ...]
    platform: Platform
    authority: str
    chain_end: datetime


def check_signature(
    quote: Quote, *, at: datetime, roots: Sequence[PinnedRoot] = (INTEL_ROOT,)
) -> SignedQuote:
    """Check the chain of signatures of a quote.

    Args:
        quote: Parsed, otherwise untrusted.
        at: When the certificates must be valid.
        roots: Accepted roots.

    Raises:
        EndorsementError: tdx.root_not_pinned, .chain_signature, .cert_expired,
            .qe_report_signature, .qe_report_data or .quote_signature.
    """
    chain = read_chain(quote.pck_chain)
    chain_end = check_chain(chain, (PCK_NAME, tuple(PCK_CA_NAMES)), roots=roots, at=at)
    platform = read_platform(chain[0])
    if not signed_by(key_of(chain[0]), quote.qe_report_signature, quote.qe_report):
        raise _refuse("qe_report_signature", "the platform did not sign the quoting enclave")
    named = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest() + bytes(32)
    if not hmac.compare_digest(named, quote.qe_report[_REPORT_DATA]):
        raise _refuse("qe_report_data", "the quoting enclave names another attestation key")
    if not signed_by(_key(quote.attestation_key), quote.signature, quote.signed):
        raise _refuse("quote_signature", "the attestation key did not sign the quote")
    return SignedQuote(quote, chain, platform, PCK_CA_NAMES[common_name(chain[1])], chain_end)


def _refuse(code: str, message: str) -> EndorsementError:
    return EndorsementError(message, code=f"tdx.{code}")


def _key(point: bytes) -> EllipticCurvePublicKey:
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + point)
    except ValueError:
        raise _refuse("quote_signature", "the attestation key is no point of P-256") from None
