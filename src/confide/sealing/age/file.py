"""Seal and open whole age v1 files of moderate size.

The payload is a stream of chunks of 64 KiB under ChaCha20-Poly1305. The nonce is a
counter of 11 bytes and one byte that marks the last chunk, so a cut is noticed.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from confide.crypto.kdf import expand, extract
from confide.errors import AgeFileError, NoMatchingIdentity
from confide.sealing.age import armor
from confide.sealing.age.header import MAX_STANZAS, Header, to_base64
from confide.sealing.age.keys import FILE_KEY_LENGTH, Identity, Recipient
from confide.wire.suites import KDF_HKDF_SHA256

__all__ = ["MAX_FILE", "count_recipients", "decrypt", "encrypt"]

MAX_FILE: Final = 16 * 1024 * 1024
"""Longest file that is read, in bytes, in either form."""

_CHUNK: Final = 64 * 1024
_TAG: Final = 16
_NONCE: Final = 16


def encrypt(plaintext: bytes, recipients: Sequence[Recipient], *, armored: bool = False) -> bytes:
    """Seal bytes so that each recipient alone can open them.

    Args:
        plaintext: What to seal; it is held in memory.
        recipients: One or more, all post-quantum or all classical: a classical one
            beside a post-quantum one would undo what the other is for.
        armored: Write the text form.

    Raises:
        AgeFileError: No recipient, too many, the same one twice, or a mixture.
    """
    if not 0 < len(recipients) <= MAX_STANZAS:
        raise AgeFileError(f"an age file has 1 to {MAX_STANZAS} recipients")
    if len(set(recipients)) != len(recipients):
        raise AgeFileError("the same recipient is named twice")
    if len({recipient.post_quantum for recipient in recipients}) != 1:
        raise AgeFileError("post-quantum and classical recipients cannot share a file")
    file_key = secrets.token_bytes(FILE_KEY_LENGTH)
    covered = Header.cover(tuple(recipient.wrap(file_key) for recipient in recipients))
    mac = f" {to_base64(_mac(file_key, covered))}\n".encode()
    nonce = secrets.token_bytes(_NONCE)
    payload = b"".join(_seal(_payload_key(file_key, nonce), plaintext))
    whole = b"".join((covered, mac, nonce, payload))
    return armor.wrap(whole) if armored else whole


def decrypt(data: bytes, identities: Iterable[Identity]) -> bytes:
    """Open a file in either form with the first identity that fits.

    Raises:
        AgeFileError: Malformed, changed, cut, or longer than `MAX_FILE`.
        NoMatchingIdentity: The file is for others.
    """
    data = _binary(data)
    header = Header.parse(data)
    file_key = _file_key(header, identities)
    if not hmac.compare_digest(_mac(file_key, header.covered), header.mac):
        raise AgeFileError("the header of the age file was changed")
    nonce = data[header.length : header.length + _NONCE]
    if len(nonce) != _NONCE:
        raise AgeFileError("the age file was cut off")
    return b"".join(_open(_payload_key(file_key, nonce), data[header.length + _NONCE :]))


def count_recipients(data: bytes) -> int:
    """Count the stanzas of a file. Nothing is authenticated.

    Raises:
        AgeFileError: Not an age v1 file.
    """
    return len(Header.parse(_binary(data)).stanzas)


def _binary(data: bytes) -> bytes:
    if len(data) > MAX_FILE:
        raise AgeFileError(f"the age file is longer than {MAX_FILE} bytes")
    return armor.unwrap(data) if armor.is_armored(data) else data


def _file_key(header: Header, identities: Iterable[Identity]) -> bytes:
    for identity in identities:
        for stanza in header.stanzas:
            file_key = identity.unwrap(stanza)
            if file_key is not None:
                return file_key
    raise NoMatchingIdentity("none of the identities opens this age file")


def _mac(file_key: bytes, covered: bytes) -> bytes:
    key = expand(KDF_HKDF_SHA256, extract(KDF_HKDF_SHA256, b"", file_key), b"header", 32)
    return hmac.digest(key, covered, "sha256")


def _payload_key(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    prk = extract(KDF_HKDF_SHA256, nonce, file_key)
    return ChaCha20Poly1305(expand(KDF_HKDF_SHA256, prk, b"payload", 32))


def _chunk_nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


def _seal(key: ChaCha20Poly1305, plaintext: bytes) -> Iterable[bytes]:
    # Only an empty file has an empty last chunk.
    count = max(1, -(-len(plaintext) // _CHUNK))
    for number in range(count):
        chunk = plaintext[number * _CHUNK : (number + 1) * _CHUNK]
        yield key.encrypt(_chunk_nonce(number, number == count - 1), chunk, None)


def _open(key: ChaCha20Poly1305, payload: bytes) -> Iterable[bytes]:
    size = _CHUNK + _TAG
    count = max(1, -(-len(payload) // size))
    for number in range(count):
        sealed = payload[number * size : (number + 1) * size]
        if len(sealed) < _TAG or (number and len(sealed) == _TAG):
            raise AgeFileError("the age file was cut off")
        try:
            yield key.decrypt(_chunk_nonce(number, number == count - 1), sealed, None)
        except InvalidTag:
            raise AgeFileError("the age file was changed or cut off") from None
