"""Seal a stream one chunk at a time, so that loss and reordering show.

Each chunk is encrypted under one key with the nonce `base_nonce XOR counter`
(RFC 9180 section 5.2). The last chunk carries the associated data b"final", all
others b"" (draft-ietf-ohai-chunked-ohttp-08). An opener therefore notices a chunk
that was dropped, repeated, swapped or cut off at the end.

Chunk lengths are not hidden here; see `confide.sealing.padding`.
"""

from __future__ import annotations

from enum import Enum

from cryptography.exceptions import InvalidTag

from confide.crypto.aead import make_aead
from confide.errors import OpenError, SealingError, StreamClosed, StreamTruncated
from confide.wire.suites import AEAD_AES256GCM

__all__ = ["NONCE_LENGTH", "ChunkOpener", "ChunkSealer"]

NONCE_LENGTH = 12  # Nn
_FINAL = b"final"
_LIMIT = 1 << 48  # chunks under one key; far below the bound of any suite's AEAD nonce space


class _State(Enum):
    RUNNING = "running"
    CLOSED = "closed"
    BROKEN = "broken"


def _base(base_nonce: bytes) -> int:
    if len(base_nonce) != NONCE_LENGTH:
        raise ValueError(f"base_nonce must be {NONCE_LENGTH} bytes, not {len(base_nonce)}")
    return int.from_bytes(base_nonce, "big")


class ChunkSealer:
    """Seal chunks in order. Not safe for concurrent use.

    Args:
        key: Nk bytes; never used elsewhere.
        base_nonce: 12 bytes.
        aead_id: HPKE AEAD identifier.
    """

    __slots__ = ("_base", "_count", "_encrypt", "_state")

    def __init__(self, key: bytes, base_nonce: bytes, aead_id: int = AEAD_AES256GCM) -> None:
        self._encrypt = make_aead(aead_id, key).encrypt
        self._base = _base(base_nonce)
        self._count = 0
        self._state = _State.RUNNING

    def seal(self, plaintext: bytes, *, final: bool = False) -> bytes:
        """Seal the next chunk.

        Args:
            plaintext: Any length; framing sets the limit.
            final: Whether the stream ends with this chunk.

        Returns:
            The ciphertext, 16 bytes longer.

        Raises:
            StreamClosed: The final chunk was already sealed.
        """
        if self._state is not _State.RUNNING:
            raise StreamClosed
        if self._count >= _LIMIT:
            raise SealingError("too many chunks under one key")
        nonce = (self._base ^ self._count).to_bytes(NONCE_LENGTH, "big")
        ciphertext = self._encrypt(nonce, plaintext, _FINAL if final else b"")
        self._count += 1
        if final:
            self._state = _State.CLOSED
        return ciphertext


class ChunkOpener:
    """Open chunks in the order they were sealed. Not safe for concurrent use.

    Args:
        key: Nk bytes.
        base_nonce: 12 bytes.
        aead_id: HPKE AEAD identifier.
    """

    __slots__ = ("_base", "_count", "_decrypt", "_state")

    def __init__(self, key: bytes, base_nonce: bytes, aead_id: int = AEAD_AES256GCM) -> None:
        self._decrypt = make_aead(aead_id, key).decrypt
        self._base = _base(base_nonce)
        self._count = 0
        self._state = _State.RUNNING

    @property
    def opened(self) -> int:
        """How many chunks were opened."""
        return self._count

    def open(self, ciphertext: bytes, *, final: bool = False) -> bytes:
        """Open the next chunk.

        Args:
            ciphertext: One whole sealed chunk, at least 16 bytes.
            final: What the frame says about this chunk. A lie does not authenticate.

        Returns:
            The plaintext, 16 bytes shorter.

        Raises:
            OpenError: This is not the next chunk of this stream. The opener stays
                broken: every later call raises again.
            StreamClosed: The final chunk was already opened.
        """
        if self._state is _State.BROKEN:
            raise OpenError
        if self._state is _State.CLOSED:
            raise StreamClosed
        nonce = (self._base ^ self._count).to_bytes(NONCE_LENGTH, "big")
        try:
            plaintext = self._decrypt(nonce, ciphertext, _FINAL if final else b"")
        except InvalidTag:
            self._state = _State.BROKEN
            raise OpenError from None
        self._count += 1
        if final:
            self._state = _State.CLOSED
        return plaintext

    def finish(self) -> None:
        """Say that no more bytes will come.

        Call it when the transport ends; without it a cut stream looks complete.

        Raises:
            StreamTruncated: No final chunk was opened.
            OpenError: An earlier chunk failed.
        """
        if self._state is _State.RUNNING:
            self._state = _State.BROKEN
            raise StreamTruncated(self._count)
        if self._state is _State.BROKEN:
            raise OpenError
