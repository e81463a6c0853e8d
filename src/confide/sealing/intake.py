"""The enclave's side, first half: open a sealed request.

A request is acted on only after its final chunk opened. Until then nothing of it is
visible but the clear prefix. Limits are enforced on declared lengths, before bytes
are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confide.crypto.chunks import ChunkOpener
from confide.crypto.hpke import DecapsulationKey, RecipientContext, setup_recipient
from confide.errors import ConfideError, KeyConfigError, StreamClosed, StreamTruncated
from confide.sealing.answer import ResponseSealer
from confide.sealing.bhttp import MAX_BODY, MAX_FIELDS, InnerRequest, decode_request
from confide.sealing.fields import too_large
from confide.sealing.ohttp import request_info, response_secret
from confide.sealing.padding import PaddingProfile, pad_request
from confide.wire.envelope import HEADER_LENGTH, RequestHeader, envelope_digest, prefix_length
from confide.wire.frames import Frame, FrameReader
from confide.wire.suites import XWING_SUITE, Suite

__all__ = ["DecapsulationKey", "RequestOpener"]

_SLACK = 64 * 1024  # control data, lengths and the second field section


class RequestOpener:
    """Opens one sealed request while it arrives.

    Every failure is final: later calls raise the same error.

    Args:
        find_key: Returns the private key with a key id, or None.
        max_body: Bytes of inner body accepted.
        max_fields: Bytes of each field section accepted.
        profile: Padding of the answer.
        suites: Suites accepted; the product accepts one.
    """

    __slots__ = (
        "_chunks",
        "_context",
        "_encapsulated_key",
        "_error",
        "_find_key",
        "_header",
        "_length",
        "_limit",
        "_max_body",
        "_max_fields",
        "_opened",
        "_prefix",
        "_private_key",
        "_profile",
        "_reader",
        "_sealer_made",
        "_suites",
    )

    def __init__(
        self,
        find_key: Callable[[int], DecapsulationKey | None],
        *,
        max_body: int = MAX_BODY,
        max_fields: int = MAX_FIELDS,
        profile: PaddingProfile | None = None,
        suites: Sequence[Suite] = (XWING_SUITE,),
    ) -> None:
        self._find_key = find_key
        self._max_body = max_body
        self._max_fields = max_fields
        self._profile = profile or PaddingProfile()
        self._suites = suites
        self._limit = pad_request(max_body + max_fields + _SLACK)
        self._prefix = bytearray()
        self._header: RequestHeader | None = None
        self._private_key: DecapsulationKey | None = None
        self._encapsulated_key: bytes | None = None
        self._context: RecipientContext | None = None
        self._chunks: ChunkOpener | None = None
        self._reader = FrameReader()
        # Pieces, joined once at the end: a buffer that grows would move what it holds.
        self._opened: list[bytes] = []
        self._length = 0
        self._error: ConfideError | None = None
        self._sealer_made = False

    @property
    def encapsulated_key(self) -> bytes | None:
        """The encapsulated key (1120 bytes), once it arrived."""
        return self._encapsulated_key

    @property
    def envelope_digest(self) -> bytes | None:
        """SHA-256 of header and encapsulated key (32 bytes), once they arrived."""
        return None if self._encapsulated_key is None else envelope_digest(bytes(self._prefix))

    def feed(self, data: bytes) -> None:
        """Take bytes of the request, in any pieces.

        Raises:
            KeyConfigError: The header names a key or suite we do not hold; raised as
                soon as its 7 bytes are there.
            OpenError: A chunk did not authenticate, or the encapsulated key is invalid.
            SealingError: Code "too-large": over the limit.
            StreamError: Malformed framing.
        """
        if self._error is not None:
            raise self._error
        try:
            if self._chunks is None:
                data = self._read_prefix(data)
            if self._chunks is not None:
                self._open(self._chunks, data)
        except ConfideError as error:
            self._fail(error)
            raise

    def finish(self) -> tuple[InnerRequest, ResponseSealer]:
        """Say that the transport ended; return the request and the sealer of its answer.

        Raises:
            StreamTruncated: No final chunk came.
            OpenError: The final chunk did not authenticate.
            SealingError: Code "malformed-message" or "too-large". The request opened, so
                `response_sealer` can answer it inside the seal.
        """
        if self._error is not None:
            raise self._error
        try:
            message = self._finish()
            request = decode_request(message, max_body=self._max_body, max_fields=self._max_fields)
        except ConfideError as error:
            self._fail(error)
            raise
        self._error = StreamClosed()
        return request, self.response_sealer()

    def response_sealer(self) -> ResponseSealer:
        """Return the sealer of the answer, once.

        `finish` does it; call this only to answer a request that opened and is
        malformed.

        Raises:
            StreamClosed: The request did not open completely, or called twice.
        """
        context, encapsulated_key = self._context, self._encapsulated_key
        if context is None or encapsulated_key is None or self._sealer_made:
            raise StreamClosed
        if self._chunks is not None:
            raise StreamClosed
        self._sealer_made = True
        secret = response_secret(context, chunked=True)
        self._context = None
        return ResponseSealer(context.suite, secret, encapsulated_key, self._profile)

    def _fail(self, error: ConfideError) -> None:
        self._error = error
        self._opened = []

    def _read_prefix(self, data: bytes) -> bytes:
        prefix = self._prefix
        prefix += data
        if self._header is None:
            if len(prefix) < HEADER_LENGTH:
                return b""
            self._header = self._accept_header(RequestHeader.parse(bytes(prefix[:HEADER_LENGTH])))
        length = prefix_length(self._header)
        if len(prefix) < length:
            return b""
        rest = bytes(prefix[length:])
        del prefix[length:]
        self._encapsulated_key = bytes(prefix[HEADER_LENGTH:])
        self._set_up(self._header, self._encapsulated_key)
        return rest

    def _accept_header(self, header: RequestHeader) -> RequestHeader:
        private_key = self._find_key(header.key_id)
        suite = header.suite()
        if private_key is None or suite not in self._suites or private_key.kem_id != header.kem_id:
            raise KeyConfigError("the request is sealed to a key or suite that is not held here")
        self._private_key = private_key
        return header

    def _set_up(self, header: RequestHeader, encapsulated_key: bytes) -> None:
        private_key, self._private_key = self._private_key, None
        if private_key is None:
            raise StreamClosed
        info = request_info(header.encode(), chunked=True)
        self._context = setup_recipient(header.suite(), private_key, encapsulated_key, info)
        self._chunks = self._context.into_chunks()

    def _open(self, chunks: ChunkOpener, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._take(chunks, frame)

    def _take(self, chunks: ChunkOpener, frame: Frame) -> None:
        if self._length + len(frame.ciphertext) > self._limit:
            raise too_large("body")
        plaintext = chunks.open(frame.ciphertext, final=frame.final)
        self._length += len(plaintext)
        self._opened.append(plaintext)

    def _finish(self) -> bytes:
        chunks = self._chunks
        if chunks is None:
            raise StreamTruncated(0)
        self._take(chunks, self._reader.finish())
        chunks.finish()
        message = b"".join(self._opened)
        self._opened = []
        self._chunks = None
        return message
