"""The key derivation of Oblivious HTTP, and whole-message OHTTP for its vectors.

RFC 9458 sections 4.3 and 4.4; draft-ietf-ohai-chunked-ohttp-08 section 6 changes
the labels only. The product speaks the chunked form; the whole-message form is here
so that RFC 9458's vectors and recorded exchanges of other implementations can be
recomputed.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.exceptions import InvalidTag

from confide.crypto import kdf
from confide.crypto.aead import make_aead
from confide.crypto.hpke import RecipientContext, SenderContext
from confide.errors import OpenError
from confide.wire.suites import Suite

__all__ = [
    "open_whole_request",
    "open_whole_response",
    "request_info",
    "response_keys",
    "response_secret",
    "seal_whole_request",
    "seal_whole_response",
]

_REQUEST = {False: b"message/bhttp request", True: b"message/bhttp chunked request"}
_RESPONSE = {False: b"message/bhttp response", True: b"message/bhttp chunked response"}


class Exporter(Protocol):
    """An HPKE context, of either side."""

    suite: Suite

    def export(self, context: bytes, length: int) -> bytes:
        """Derive a secret."""


def request_info(header: bytes, *, chunked: bool) -> bytes:
    """Return HPKE's `info` of a request: label, a zero byte, the 7-byte header."""
    return _REQUEST[chunked] + b"\x00" + header


def response_secret(context: Exporter, *, chunked: bool) -> bytes:
    """Export the secret of the answer: max(Nn, Nk) bytes."""
    return context.export(_RESPONSE[chunked], context.suite.response_nonce_length)


def response_keys(
    suite: Suite, secret: bytes, encapsulated_key: bytes, response_nonce: bytes
) -> tuple[bytes, bytes]:
    """Derive the key and base nonce of the answer.

    Args:
        suite: Gives the KDF and the lengths.
        secret: max(Nn, Nk) bytes from `response_secret`.
        encapsulated_key: Nenc bytes of the request.
        response_nonce: max(Nn, Nk) bytes the answer starts with.

    Returns:
        Nk and Nn bytes.
    """
    prk = kdf.extract(suite.kdf_id, encapsulated_key + response_nonce, secret)
    return (
        kdf.expand(suite.kdf_id, prk, b"key", suite.nk),
        kdf.expand(suite.kdf_id, prk, b"nonce", suite.nn),
    )


def seal_whole_request(
    context: SenderContext, header: bytes, encapsulated_key: bytes, message: bytes
) -> bytes:
    """Seal one whole message (RFC 9458 section 4.3)."""
    return header + encapsulated_key + context.seal(message)


def open_whole_request(context: RecipientContext, ciphertext: bytes) -> bytes:
    """Open what follows header and encapsulated key.

    Raises:
        OpenError: It did not authenticate.
    """
    return context.open(ciphertext)


def seal_whole_response(
    context: Exporter, encapsulated_key: bytes, response_nonce: bytes, message: bytes
) -> bytes:
    """Seal one whole answer (RFC 9458 section 4.4)."""
    secret = response_secret(context, chunked=False)
    key, nonce = response_keys(context.suite, secret, encapsulated_key, response_nonce)
    return response_nonce + make_aead(context.suite.aead_id, key).encrypt(nonce, message, b"")


def open_whole_response(context: Exporter, encapsulated_key: bytes, sealed: bytes) -> bytes:
    """Open one whole answer.

    Raises:
        OpenError: It did not authenticate.
    """
    length = context.suite.response_nonce_length
    secret = response_secret(context, chunked=False)
    key, nonce = response_keys(context.suite, secret, encapsulated_key, sealed[:length])
    try:
        return make_aead(context.suite.aead_id, key).decrypt(nonce, sealed[length:], b"")
    except InvalidTag:
        raise OpenError from None
