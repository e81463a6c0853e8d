"""One request before sealing, and its answer after opening."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from confide.client.sessions import Session
from confide.errors import SealingError, TransportError
from confide.sealing.exchange import ResponseBody, ResponseEnd, ResponseEvent, ResponseOpener
from confide.wire.metadata import USAGE_TRAILER

__all__ = ["AUTHORITY", "Answer", "PlainRequest"]

AUTHORITY: Final = "confide.invalid"
"""The inner authority. The name cannot exist (RFC 6761), so a forgotten transport fails."""


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """What the caller wants to ask, before sealing.

    Attributes:
        method: HTTP method.
        path: Path and query.
        headers: What `confide.wire.inner_headers.request_fields` left of the caller's.
        body: Untouched.
    """

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = field(default=b"", repr=False)


class Answer:
    """The opened head of an answer, and the way to open the rest. Use once, in order.

    Attributes:
        status: HTTP status inside the seal.
        headers: Headers inside the seal.
        trailers: Trailers inside the seal; empty before the authenticated end.
        ended: Whether the authenticated end was seen.
        request_id: The gateway's id of the request; not authenticated.
        session: The replica that answered.
    """

    def __init__(self, opener: ResponseOpener, session: Session, request_id: str | None) -> None:
        self.status = 0
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()
        self.ended = False
        self.request_id = request_id
        self.session = session
        self._opener = opener

    @property
    def usage(self) -> str | None:
        """The enclave's signed usage statement, once the answer has ended."""
        name = USAGE_TRAILER.encode()
        return next((v.decode("ascii", "replace") for n, v in self.trailers if n == name), None)

    def feed(self, content: bytes) -> bytes:
        """Open what came next.

        Returns:
            Body bytes, possibly none.

        Raises:
            SealingError: It does not authenticate.
        """
        return self._take(self._opener.feed(content))

    def finish(self) -> bytes:
        """Say that the transport ended.

        Returns:
            The last body bytes.

        Raises:
            StreamTruncated: The authenticated end is missing.
            SealingError: An earlier part or the end does not authenticate.
        """
        if self.ended:
            return b""
        body = self._take(self._opener.finish())
        self.ended = True
        return body

    def cut(self, error: TransportError) -> bytes:
        """Say that the transport failed; what matters is whether the end was authentic.

        Args:
            error: How the transport failed.

        Returns:
            The last body bytes, if the authenticated end had arrived before the failure.

        Raises:
            TransportError: It timed out; the answer may still be on its way.
            StreamTruncated: It was cut off.
        """
        if error.code == "timeout":
            raise error
        try:
            return self.finish()
        except SealingError as cut:
            raise cut from error

    def _take(self, parts: list[ResponseEvent]) -> bytes:
        body = []
        for part in parts:
            if isinstance(part, ResponseBody):
                body.append(part.content)
            elif isinstance(part, ResponseEnd):
                self.trailers = tuple(part.trailers)
            elif part.status >= 200:  # informational responses carry nothing we use
                self.status, self.headers = part.status, tuple(part.headers)
        return b"".join(body)
