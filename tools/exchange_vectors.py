"""Recompute one OHTTP exchange, whole or chunked, from its keys.

The recipient's side opens everything; the sender's side seals the same plaintext
again and must get the same bytes, which checks both roles because AEADs are
deterministic.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from confide.crypto import dhkem, xwing
from confide.crypto.chunks import ChunkOpener, ChunkSealer
from confide.crypto.hpke import DecapsulationKey, RecipientContext, SenderContext
from confide.crypto.secret_bytes import SecretBytes
from confide.errors import KeyConfigError, SealingError
from confide.sealing.bhttp import decode_request, decode_response
from confide.sealing.ohttp import (
    open_whole_response,
    request_info,
    response_keys,
    response_secret,
    seal_whole_response,
)
from confide.wire.envelope import HEADER_LENGTH, RequestHeader, prefix_length
from confide.wire.frames import FrameReader, encode_frame
from confide.wire.key_config import KeyConfig, parse_key_configs
from confide.wire.suites import KEM_XWING, Suite
from vector_values import Mismatch, equal, hex_bytes, integer

__all__ = ["check_example", "check_exchange", "private_key_of"]

# A recorded peer may use longer chunks than the product accepts.
_MAX_CHUNK = 16 * 1024 * 1024


def check_exchange(entry: Any) -> str | None:
    """Recompute a recorded exchange.

    The KEM's secret comes from the recipient's key (`skR_seed`), or from
    `kem_shared_secret` where the recorder was the client.

    Raises:
        Mismatch: A value differs or is missing.
        ConfideError: Something did not open.
    """
    sealed = hex_bytes(entry, "enc_request")
    header, suite, encapsulated_key = split(sealed)
    named = tuple(integer(entry, name) for name in ("kem_id", "kdf_id", "aead_id"))
    equal("suite", (suite.kem_id, suite.kdf_id, suite.aead_id), named)
    key_config = find_key_config(hex_bytes(entry, "key_config"), header)
    chunked = entry.get("chunked")
    if not isinstance(chunked, bool):
        raise Mismatch("chunked is not true or false")
    secret = shared_secret(entry, suite, key_config, encapsulated_key)
    request, answer = hex_bytes(entry, "request_plain"), hex_bytes(entry, "response_plain")
    exchange = Exchange(suite, header, encapsulated_key, secret, chunked=chunked)
    exchange.check_request(sealed[prefix_length(header) :], request)
    exchange.check_response(hex_bytes(entry, "enc_response"), answer)
    return remark(request, answer)


def split(sealed: bytes) -> tuple[RequestHeader, Suite, bytes]:
    """Cut the clear prefix off a sealed request."""
    header = RequestHeader.parse(sealed[:HEADER_LENGTH])
    return header, header.suite(), sealed[HEADER_LENGTH : prefix_length(header)]


def find_key_config(encoded: bytes, header: RequestHeader) -> KeyConfig:
    """Return the key configuration the header names, from one or from a list."""
    try:
        key_configs: tuple[KeyConfig, ...] = (KeyConfig.parse(encoded),)
    except KeyConfigError:
        key_configs = parse_key_configs(encoded)
    for key_config in key_configs:
        if (key_config.key_id, key_config.kem_id) == (header.key_id, header.kem_id):
            key_config.suite(header.kdf_id, header.aead_id)
            return key_config
    raise Mismatch("the request names a key that is not in key_config")


def shared_secret(
    entry: Any, suite: Suite, key_config: KeyConfig, encapsulated_key: bytes
) -> SecretBytes:
    """Decapsulate with the recipient's key, or take the recorded secret of the client."""
    if "skR_seed" not in entry:
        secret = SecretBytes(hex_bytes(entry, "kem_shared_secret"))
        equal("length of the shared secret", len(secret), suite.n_secret)
        return secret
    private_key = private_key_of(suite, hex_bytes(entry, "skR_seed"))
    equal("public key", private_key.public_key, key_config.public_key)
    secret = private_key.decapsulate(encapsulated_key)
    if "kem_shared_secret" in entry:
        equal("shared secret", secret.reveal(), hex_bytes(entry, "kem_shared_secret"))
    return secret


def private_key_of(suite: Suite, seed: bytes) -> DecapsulationKey:
    """Expand a recipient's 32-byte seed or scalar."""
    if suite.kem_id == KEM_XWING:
        return xwing.PrivateKey.from_seed(seed)
    return dhkem.PrivateKey.from_seed(seed)


def remark(request: bytes, answer: bytes) -> str | None:
    """Say if what was sealed is not Binary HTTP; that is the recorder's business."""
    try:
        decode_request(request)
        decode_response(answer)
    except SealingError:
        return "the exchange is right; a message inside is not strict Binary HTTP"
    return None


class Exchange:
    """Both sides of one exchange, from the KEM's shared secret on."""

    def __init__(
        self,
        suite: Suite,
        header: RequestHeader,
        encapsulated_key: bytes,
        secret: SecretBytes,
        *,
        chunked: bool,
    ) -> None:
        info = request_info(header.encode(), chunked=chunked)
        self.suite = suite
        self.chunked = chunked
        self.encapsulated_key = encapsulated_key
        self.sender = SenderContext.of(suite, secret, info)
        self.recipient = RecipientContext.of(suite, secret, info)
        # Exported first: afterwards the contexts are spent on chunks.
        self.secret = response_secret(self.recipient, chunked=chunked)
        equal("response secret", response_secret(self.sender, chunked=chunked), self.secret)

    def check_request(self, sealed: bytes, message: bytes) -> None:
        """Open what follows the prefix, and seal it again."""
        if self.chunked:
            check_chunks(
                sealed, message, self.recipient.into_chunks(), self.sender.into_chunks(), "request"
            )
            return
        equal("request", self.recipient.open(sealed), message)
        equal("sealed request", self.sender.seal(message), sealed)

    def check_response(self, sealed: bytes, message: bytes) -> None:
        """Open the answer, and seal it again under its nonce."""
        nonce = sealed[: self.suite.response_nonce_length]
        equal("length of the response nonce", len(nonce), self.suite.response_nonce_length)
        if not self.chunked:
            opened = open_whole_response(self.sender, self.encapsulated_key, sealed)
            equal("response", opened, message)
            again = seal_whole_response(self.recipient, self.encapsulated_key, nonce, message)
            equal("sealed response", again, sealed)
            return
        key, base_nonce = response_keys(self.suite, self.secret, self.encapsulated_key, nonce)
        opener = ChunkOpener(key, base_nonce, self.suite.aead_id)
        sealer = ChunkSealer(key, base_nonce, self.suite.aead_id)
        check_chunks(sealed[len(nonce) :], message, opener, sealer, "response")


def check_chunks(
    sealed: bytes, message: bytes, opener: ChunkOpener, sealer: ChunkSealer, what: str
) -> None:
    """Open every chunk, compare the joined plaintext, seal every chunk again."""
    reader = FrameReader(_MAX_CHUNK)
    frames = [*reader.feed(sealed), reader.finish()]
    opened = [opener.open(frame.ciphertext, final=frame.final) for frame in frames]
    opener.finish()
    equal(what, b"".join(opened), message)
    for frame, plaintext in zip(frames, opened, strict=True):
        equal(f"sealed {what}", sealer.seal(plaintext, final=frame.final), frame.ciphertext)


def check_example(entry: Any) -> None:
    """Recompute an example of a specification byte by byte, with the sender's own key."""
    sealed = hex_bytes(entry, "enc_request")
    header, suite, encapsulated_key = split(sealed)
    key_config = find_key_config(hex_bytes(entry, "key_config"), header)
    private_key = dhkem.PrivateKey.from_seed(hex_bytes(entry, "skR"))
    equal("public key", private_key.public_key, key_config.public_key)
    ephemeral = X25519PrivateKey.from_private_bytes(hex_bytes(entry, "skE"))
    enc, secret = dhkem.encapsulate(key_config.public_key, ephemeral=ephemeral)
    equal("encapsulated key", enc, encapsulated_key)
    equal("both secrets", private_key.decapsulate(enc).reveal(), secret.reveal())
    chunked = bool(entry["chunked"])
    equal("info", request_info(header.encode(), chunked=chunked), hex_bytes(entry, "info"))
    exchange = Exchange(suite, header, enc, secret, chunked=chunked)
    equal("secret", exchange.secret, hex_bytes(entry, "secret"))
    nonce = hex_bytes(entry, "response_nonce")
    key, base_nonce = response_keys(suite, exchange.secret, enc, nonce)
    equal("key", key, hex_bytes(entry, "aead_key"))
    equal("nonce", base_nonce, hex_bytes(entry, "aead_nonce"))
    request, answer = hex_bytes(entry, "request"), hex_bytes(entry, "response")
    sealed_answer = hex_bytes(entry, "enc_response")
    if chunked:
        lengths = entry["request_chunks_plain_lengths"]
        sender = SenderContext.of(suite, secret, hex_bytes(entry, "info")).into_chunks()
        built = header.encode() + enc + seal_lengths(sender, request, lengths)
        equal("sealed request", built, sealed)
        lengths = entry["response_chunks_plain_lengths"]
        sealer = ChunkSealer(key, base_nonce, suite.aead_id)
        equal("sealed response", nonce + seal_lengths(sealer, answer, lengths), sealed_answer)
    exchange.check_request(sealed[prefix_length(header) :], request)
    exchange.check_response(sealed_answer, answer)


def seal_lengths(sealer: ChunkSealer, message: bytes, lengths: list[int]) -> bytes:
    """Seal a message in chunks of these lengths, the last one final."""
    sealed = b""
    for number, length in enumerate(lengths):
        final = number == len(lengths) - 1
        sealed += encode_frame(sealer.seal(message[:length], final=final), final=final)
        message = message[length:]
    return sealed
