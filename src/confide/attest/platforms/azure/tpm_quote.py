"""Check a quote of a TPM 2.0: who signed it, which nonce it answers, which PCRs it covers.

TPMS_ATTEST (big-endian):

    magic ff544347, type 8018
    qualified signer        u16 length, then bytes
    extra data              u16 length, then bytes: the nonce
    clock                   17 bytes
    firmware version        8 bytes
    PCR selection           u32 count, then each: u16 hash, u8 length, bitmap
    PCR digest              u16 length, then bytes

Source: TCG TPM 2.0 Library part 2, sections 10.12.8 (TPMS_ATTEST) and 10.12.1
(TPMS_QUOTE_INFO).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from confide.errors import EvidenceError

__all__ = ["PCR_COUNT", "TpmQuote", "check_pcrs", "check_tpm_signature"]

PCR_COUNT: Final = 24
PCR_LENGTH: Final = 32

_MAX_MESSAGE: Final = 1024
_QUOTE: Final = b"\xffTCG\x80\x18"
_CLOCK_AND_FIRMWARE: Final = 17 + 8
_SHA256: Final = 0x000B
_ALL_PCRS: Final = b"\xff\xff\xff"


@dataclass(frozen=True)
class TpmQuote:
    """What a TPM signed.

    Attributes:
        nonce: `extraData`, at most 66 bytes.
        pcr_digest: SHA-256 of the 24 PCRs of the SHA-256 bank.
    """

    nonce: bytes = field(repr=False)
    pcr_digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, message: bytes) -> TpmQuote:
        """Read a TPMS_ATTEST whose signature was checked.

        Raises:
            EvidenceError: azure.tpm_quote: another kind, cut off, too long, or not about
                all 24 PCRs of the SHA-256 bank.
        """
        if len(message) > _MAX_MESSAGE:
            raise _refuse("tpm_quote", f"a TPM quote of {len(message)} bytes")
        reader = _Reader(message)
        if reader.take(len(_QUOTE)) != _QUOTE:
            raise _refuse("tpm_quote", "the TPM signed something else than a quote")
        reader.sized(2)
        nonce = reader.sized(2)
        reader.take(_CLOCK_AND_FIRMWARE)
        selections = reader.integer(4)
        if selections != 1 or reader.integer(2) != _SHA256 or reader.sized(1) != _ALL_PCRS:
            raise _refuse("tpm_quote", "the TPM quote is not about all PCRs of the SHA-256 bank")
        digest = reader.sized(2)
        reader.end()
        return cls(nonce, digest)


def check_tpm_signature(key: RSAPublicKey, signature: bytes, message: bytes) -> None:
    """Check RSASSA-PKCS1-v1_5 with SHA-256.

    Raises:
        EvidenceError: azure.tpm_signature.
    """
    try:
        key.verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise _refuse("tpm_signature", "the attestation key did not sign the TPM quote") from None


def check_pcrs(raw: bytes, quote: TpmQuote) -> tuple[bytes, ...]:
    """Return the PCRs, if the quote covers these values.

    Args:
        raw: 24 times 32 bytes.
        quote: Its signature was checked.

    Raises:
        EvidenceError: azure.pcr_digest.
    """
    if len(raw) != PCR_COUNT * PCR_LENGTH:
        raise _refuse("pcr_digest", f"{len(raw)} bytes of PCRs, not {PCR_COUNT * PCR_LENGTH}")
    if not hmac.compare_digest(hashlib.sha256(raw).digest(), quote.pcr_digest):
        raise _refuse("pcr_digest", "the TPM signed other PCRs")
    return tuple(raw[at : at + PCR_LENGTH] for at in range(0, len(raw), PCR_LENGTH))


def _refuse(code: str, message: str) -> EvidenceError:
    return EvidenceError(message, code=f"azure.{code}")


class _Reader:
    """Takes fields from the front of untrusted bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, length: int) -> bytes:
        if length > len(self._content) - self._at:
            raise _refuse("tpm_quote", "the TPM quote is cut off")
        self._at += length
        return self._content[self._at - length : self._at]

    def integer(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def sized(self, prefix: int) -> bytes:
        return self.take(self.integer(prefix))

    def end(self) -> None:
        if self._at != len(self._content):
            raise _refuse("tpm_quote", "something follows the TPM quote")
