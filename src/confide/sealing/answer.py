"""The enclave's side, second half: seal an answer while it is made.

Streamed answers go out chunk by chunk, each padded with a comment; other answers
are gathered into full chunks and padded at the end. Either way the last thing sent
is the final chunk, and the padded total is a bucket.
"""

from __future__ import annotations

import os

from confide.crypto.chunks import ChunkSealer
from confide.errors import StreamClosed
from confide.sealing.bhttp import encode_response_head
from confide.sealing.bhttp_stream import is_event_stream
from confide.sealing.fields import Fields, encode_lines
from confide.sealing.ohttp import response_keys
from confide.sealing.padding import PADDING_COMMENT, PaddingProfile
from confide.wire.frames import MAX_PLAINTEXT, encode_frame, encode_varint
from confide.wire.suites import Suite

__all__ = ["ResponseSealer"]


class ResponseSealer:
    """Seals one answer: `head`, any number of `body`, `end`. Single use.

    Made by `RequestOpener`. Every call returns bytes to send, possibly none.

    Args:
        suite: Suite of the request.
        secret: Exported response secret, max(Nn, Nk) bytes.
        encapsulated_key: Nenc bytes of the request.
        profile: How lengths are hidden.
    """

    __slots__ = (
        "_chunks",
        "_events",
        "_nonce",
        "_pending",
        "_phase",
        "_profile",
        "_streamed",
        "_total",
    )

    def __init__(
        self, suite: Suite, secret: bytes, encapsulated_key: bytes, profile: PaddingProfile
    ) -> None:
        self._nonce = os.urandom(suite.response_nonce_length)
        key, nonce = response_keys(suite, secret, encapsulated_key, self._nonce)
        self._chunks = ChunkSealer(key, nonce, suite.aead_id)
        self._profile = profile
        self._pending = bytearray()
        self._total = 0
        self._phase = "new"
        self._streamed = False
        self._events = False

    def head(self, status: int, headers: Fields, *, streamed: bool) -> bytes:
        """Seal status and headers.

        Args:
            status: 200 to 599.
            headers: Lower-case names.
            streamed: Whether content shall leave as it comes. False gathers it.

        Returns:
            The response nonce (32 bytes), for streamed answers followed by the first
            chunk.

        Raises:
            SealingError: A field or the status is not allowed.
            StreamClosed: Not the first call.
        """
        if self._phase != "new":
            raise StreamClosed
        plaintext = encode_response_head(status, headers)
        self._phase = "content"
        self._streamed = streamed
        # Also of an answer that is gathered: the opener goes by the content type alone.
        self._events = is_event_stream(headers)
        if not streamed:
            return self._nonce + self._gather(plaintext)
        return self._nonce + self._send(self._padded(plaintext, b""))

    def body(self, content: bytes) -> bytes:
        """Seal a piece of the content.

        Args:
            content: For event streams whole events, gathered per tick by the caller.
                Empty content of a streamed, padded event stream makes a chunk of padding only
                (the ticks of profile constant); otherwise it makes nothing.

        Returns:
            Bytes to send now.

        Raises:
            StreamClosed: Before `head` or after `end`.
        """
        if self._phase != "content":
            raise StreamClosed
        if not content:
            if not (self._events and self._streamed):
                return b""
            return self._send(self._padded(b"", b""))
        if self._events and content.startswith(PADDING_COMMENT):
            # Real content never starts a chunk like padding: split it after one byte.
            plaintext = b"\x01" + content[:1] + encode_varint(len(content) - 1) + content[1:]
        else:
            plaintext = encode_varint(len(content)) + content
        if not self._streamed:
            return self._gather(plaintext)
        return self._send(self._padded(plaintext, content))

    def end(self, trailers: Fields = ()) -> bytes:
        """Seal the trailers and the end, padded to a bucket of the whole answer.

        Args:
            trailers: Lower-case names.

        Returns:
            The rest of the answer; its last chunk is final.

        Raises:
            SealingError: A field is not allowed.
            StreamClosed: Before `head`, or called twice.
        """
        if self._phase != "content":
            raise StreamClosed
        # Content terminator, trailer lines, their terminator.
        tail = b"\x00" + encode_lines(trailers) + b"\x00"
        self._phase = "closed"
        self._pending += tail
        length = self._total + len(self._pending)
        self._pending += bytes(self._profile.pad_response(length) - length)
        sent = self._gather(b"")
        last = bytes(self._pending)
        self._pending.clear()
        return sent + encode_frame(self._chunks.seal(last, final=True), final=True)

    def _padded(self, plaintext: bytes, content: bytes) -> bytes:
        if not self._events:
            return plaintext
        return plaintext + self._profile.comment_for(len(plaintext), content)

    def _send(self, plaintext: bytes) -> bytes:
        """Seal plaintext now."""
        self._total += len(plaintext)
        if 0 < len(plaintext) <= MAX_PLAINTEXT:
            return encode_frame(self._chunks.seal(plaintext))
        frames = [
            encode_frame(self._chunks.seal(plaintext[at : at + MAX_PLAINTEXT]))
            for at in range(0, len(plaintext), MAX_PLAINTEXT)
        ]
        return b"".join(frames)

    def _gather(self, plaintext: bytes) -> bytes:
        """Keep plaintext; seal full chunks, leaving at least one byte for the final one."""
        pending = self._pending
        pending += plaintext
        if len(pending) <= MAX_PLAINTEXT:
            return b""
        whole = (len(pending) - 1) // MAX_PLAINTEXT * MAX_PLAINTEXT
        ready = bytes(pending[:whole])
        del pending[:whole]
        return self._send(ready)
