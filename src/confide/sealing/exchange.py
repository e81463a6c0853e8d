"""The client's side of one sealed exchange: seal a request, open its answer.

    sealed, opener = seal_request(key_config, request, pad_to=profile.pad_request)
    for piece in sealed.chunks(): send(piece)
    for piece in receive(): events += opener.feed(piece)
    events += opener.finish()

The enclave's side is `confide.sealing.intake`; its classes are named here too, so
that both rooms import one module. Each object serves one exchange and one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from confide.crypto import xwing
from confide.crypto.chunks import ChunkOpener, ChunkSealer
from confide.crypto.hpke import SenderContext, setup_sender
from confide.errors import ConfideError, StreamClosed, StreamTruncated
from confide.sealing.answer import ResponseSealer
from confide.sealing.bhttp import InnerRequest, InnerResponse, encode_request
from confide.sealing.bhttp_stream import (
    ResponseBody,
    ResponseDecoder,
    ResponseEnd,
    ResponseEvent,
    ResponseHead,
)
from confide.sealing.intake import RequestOpener
from confide.sealing.ohttp import request_info, response_keys, response_secret
from confide.sealing.padding import PADDING_COMMENT
from confide.wire.envelope import RequestHeader, envelope_digest
from confide.wire.frames import MAX_PLAINTEXT, TAG_LENGTH, FrameReader, encode_varint
from confide.wire.key_config import KeyConfig
from confide.wire.suites import Suite

__all__ = [
    "InnerRequest",
    "InnerResponse",
    "RequestOpener",
    "ResponseBody",
    "ResponseEnd",
    "ResponseEvent",
    "ResponseHead",
    "ResponseOpener",
    "ResponseSealer",
    "SealedRequest",
    "check_key_config",
    "seal_request",
]

_FRAME_OVERHEAD = 4 + TAG_LENGTH  # varint of 16,400 and the tag


def check_key_config(key_config: KeyConfig) -> None:
    """Refuse a key nobody should seal to. Call once when a key configuration is loaded.

    Raises:
        KeyConfigError: Another suite than ours, or an invalid or low-order public key.
    """
    key_config.choose_suite()
    xwing.check_public_key(key_config.public_key)


class SealedRequest:
    """A request ready to be sent, once.

    Attributes:
        length: Bytes that `chunks` yields in total.
        envelope_digest: SHA-256 of header and encapsulated key, 32 bytes.
    """

    __slots__ = ("_message", "_prefix", "_sealer", "envelope_digest", "length")

    def __init__(self, prefix: bytes, sealer: ChunkSealer, message: bytes) -> None:
        self._prefix = prefix
        self._sealer = sealer
        self._message: bytes | None = message
        self.envelope_digest = envelope_digest(prefix)
        whole = max(0, len(message) - 1) // MAX_PLAINTEXT
        last = len(message) - whole * MAX_PLAINTEXT
        self.length = (
            len(prefix) + whole * (MAX_PLAINTEXT + _FRAME_OVERHEAD) + 1 + last + TAG_LENGTH
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield the sealed bytes; the first piece starts with the clear prefix.

        Raises:
            StreamClosed: Called a second time. Seal again instead.
        """
        message = self._take()
        return (head + ciphertext for head, ciphertext in self._frames(message))

    def content(self) -> bytes:
        """Return all sealed bytes at once, instead of `chunks`.

        Raises:
            StreamClosed: They were taken before. Seal again instead.
        """
        return b"".join(chain.from_iterable(self._frames(self._take())))

    def _take(self) -> bytes:
        message, self._message = self._message, None
        if message is None:
            raise StreamClosed
        return message

    def _frames(self, message: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what stands before a chunk, and the sealed chunk."""
        head = self._prefix
        at = 0
        while len(message) - at > MAX_PLAINTEXT:
            ciphertext = self._sealer.seal(message[at : at + MAX_PLAINTEXT])
            yield head + encode_varint(len(ciphertext)), ciphertext
            head = b""
            at += MAX_PLAINTEXT
        yield head + b"\x00", self._sealer.seal(message[at:], final=True)


def seal_request(
    key_config: KeyConfig, request: InnerRequest, *, pad_to: Callable[[int], int]
) -> tuple[SealedRequest, ResponseOpener]:
    """Seal a request to an enclave's key.

    Args:
        key_config: A verified key configuration that offers our one suite.
        request: What the enclave shall see.
        pad_to: Padded length for a message length, in bytes; `PaddingProfile.pad_request`.

    Returns:
        The request to send and the opener of its answer. Both are used once.

    Raises:
        KeyConfigError: The key does not offer our suite or is not valid.
        SealingError: The request has characters HTTP does not allow.
    """
    suite = key_config.choose_suite()
    header = RequestHeader(key_config.key_id, suite.kem_id, suite.kdf_id, suite.aead_id).encode()
    info = request_info(header, chunked=True)
    encapsulated_key, context = setup_sender(suite, key_config.public_key, info)
    message = encode_request(request, pad_to=pad_to)
    opener = ResponseOpener(context, encapsulated_key)
    return SealedRequest(header + encapsulated_key, context.into_chunks(), message), opener


class ResponseOpener:
    """Opens one answer while it arrives. Padding is dropped here.

    Every failure is final: later calls raise the same error.

    Args:
        context: The sender's context of the request.
        encapsulated_key: Nenc bytes of the request.
    """

    __slots__ = ("_chunks", "_decoder", "_enc", "_error", "_head", "_reader", "_secret", "_suite")

    def __init__(self, context: SenderContext, encapsulated_key: bytes) -> None:
        self._suite: Suite = context.suite
        self._secret = response_secret(context, chunked=True)
        self._enc = encapsulated_key
        self._head = b""
        self._chunks: ChunkOpener | None = None
        self._reader = FrameReader()
        self._decoder = ResponseDecoder(PADDING_COMMENT)
        self._error: ConfideError | None = None

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """Take bytes of the answer; return what they completed.

        Args:
            data: Any piece of the response body, in order.

        Returns:
            A head, pieces of content, or nothing yet. Everything returned is genuine,
            though the end may still be missing.

        Raises:
            OpenError: A chunk did not authenticate.
            SealingError: The framing or the message inside is malformed.
        """
        if self._error is not None:
            raise self._error
        try:
            if self._chunks is None:
                data = self._start(data)
            return self._open(data)
        except ConfideError as error:
            self._error = error
            raise

    def finish(self) -> list[ResponseEvent]:
        """Say that the transport ended.

        Returns:
            What the final chunk held, then `ResponseEnd`.

        Raises:
            StreamTruncated: No final chunk came, or the message inside is incomplete.
            OpenError: The final chunk did not authenticate.
            StreamClosed: The answer was already finished.
        """
        if self._error is not None:
            raise self._error
        try:
            events = self._finish()
        except ConfideError as error:
            self._error = error
            raise
        self._error = StreamClosed()
        return events

    def _start(self, data: bytes) -> bytes:
        self._head += data
        length = self._suite.response_nonce_length
        if len(self._head) < length:
            return b""
        key, nonce = response_keys(self._suite, self._secret, self._enc, self._head[:length])
        self._chunks = ChunkOpener(key, nonce, self._suite.aead_id)
        rest, self._head, self._secret = self._head[length:], b"", b""
        return rest

    def _open(self, data: bytes) -> list[ResponseEvent]:
        events: list[ResponseEvent] = []
        if self._chunks is None:
            return events
        for frame in self._reader.feed(data):
            events += self._decoder.feed(self._chunks.open(frame.ciphertext))
        return events

    def _finish(self) -> list[ResponseEvent]:
        if self._chunks is None:
            raise StreamTruncated(0)
        frame = self._reader.finish()
        events = self._decoder.feed(self._chunks.open(frame.ciphertext, final=True))
        self._chunks.finish()
        end = self._decoder.finish()
        if end is None:
            raise StreamTruncated(self._chunks.opened)
        events.append(end)
        return events
