"""The journey of one sealed request through the gateway.

1. recognise the caller and take its limits
2. read the clear prefix
3. pick the enclave
4. sign the grant
5. copy both ways
6. write the row
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from confide.errors import (
    GatewayError,
    KeyConfigError,
    NoEnclaveAvailable,
    RequestTooLarge,
    SealingError,
    TransportError,
)
from confide.gateway.admission import Admission
from confide.gateway.callers import Caller
from confide.gateway.grants import GrantSigner
from confide.gateway.instruments import Instruments
from confide.gateway.ledger import Ledger, RequestRow
from confide.gateway.registry import Enclave, Registry
from confide.gateway.relay import CallerGone, Line, Receive, Relay, Send, Upload
from confide.gateway.routing import pick
from confide.telemetry.logs import enabled, event
from confide.wire.envelope import envelope_digest
from confide.wire.media_types import CHUNKED_REQUEST
from confide.wire.metadata import DOCUMENT_HEADER, GRANT_HEADER, REQUEST_ID_HEADER

__all__ = ["Head", "SealedRoute"]

_TARGET: Final = b"/v1/sealed"
_FIXED: Final = (
    (b"content-type", CHUNKED_REQUEST.encode()),
    (b"incremental", b"?1"),
)
_GRANT: Final = GRANT_HEADER.encode()
_REQUEST_ID: Final = REQUEST_ID_HEADER.encode()
_DOCUMENT: Final = DOCUMENT_HEADER.encode()
_TYPE: Final = CHUNKED_REQUEST.encode()


@dataclass(slots=True)
class Head:
    """The outer headers the gateway reads; all others are ignored and not forwarded.

    Attributes:
        authorization: The credential, or None.
        content_type: Media type, or None.
        document: 64 hexadecimal digits, or None.
        length: content-length, or None.
    """

    authorization: bytes | None = None
    content_type: bytes | None = None
    document: bytes | None = None
    length: int | None = None

    @classmethod
    def read(cls, headers: list[tuple[bytes, bytes]]) -> Head:
        """Pick the headers out of an ASGI scope.

        Raises:
            GatewayError: 400, a header that decides something came twice.
        """
        head = cls()
        for name, value in headers:
            if name == b"authorization":
                _once(head.authorization)
                head.authorization = value
            elif name == b"content-type":
                head.content_type = value
            elif name == _DOCUMENT:
                _once(head.document)
                head.document = value
            elif name == b"content-length":
                head.length = int(value)  # digits only: the HTTP parser saw to that
        return head


def _once(value: bytes | None) -> None:
    if value is not None:
        raise GatewayError("a header came twice", status=400, code="bad-request")


class SealedRoute:
    """`POST /v1/sealed`."""

    def __init__(
        self,
        *,
        admission: Admission,
        registry: Registry,
        grants: GrantSigner,
        ledger: Ledger,
        instruments: Instruments,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        max_bytes: int,
        idle_s: float,
    ) -> None:
        """Wire the parts.

        Args:
            admission: Step 1.
            registry: Step 3.
            grants: Step 4.
            ledger: Step 6.
            instruments: Metrics.
            now: Unix seconds.
            monotonic: Seconds.
            max_bytes: Longest sealed request.
            idle_s: A caller that sends nothing of its body for so long is refused.
        """
        self._admission = admission
        self._registry = registry
        self._grants = grants
        self._ledger = ledger
        self._instruments = instruments
        self._now = now
        self._monotonic = monotonic
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    async def __call__(
        self,
        headers: list[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
        request_id: str,
        line: Line | None = None,
    ) -> None:
        """Answer one request.

        Args:
            headers: Of the request, names in lower case.
            receive: As in ASGI.
            send: As in ASGI.
            request_id: For the enclave, the caller and the ledger.
            line: The caller's connection, if the server shows it.

        Raises:
            GatewayError: Refused before the enclave answered.
            KeyConfigError: Sealed to a key that no enclave here holds.
        """
        head = Head.read(headers)
        caller = self._admission.recognise(head.authorization)
        if head.content_type != _TYPE:
            raise GatewayError(
                f"a sealed request has the media type {CHUNKED_REQUEST}",
                status=415,
                code="unsupported-media-type",
            )
        if head.length is not None and head.length > self._max_bytes:
            raise RequestTooLarge(f"a sealed request has at most {self._max_bytes} bytes")
        self._admission.admit(caller)
        self._instruments.streams.inc()
        try:
            upload = Upload(
                receive,
                length=head.length,
                max_bytes=self._max_bytes,
                idle_s=self._idle_s,
                line=line,
            )
            await self._relay(caller, head, upload, send, request_id)
        finally:
            caller.limiter.release()
            self._instruments.streams.dec()

    async def _relay(
        self, caller: Caller, head: Head, upload: Upload, send: Send, request_id: str
    ) -> None:
        try:
            prefix = await upload.prefix()
        except CallerGone:
            return
        except SealingError as error:
            raise KeyConfigError("the clear prefix names no key of this gateway") from error
        now = self._now()
        enclave = pick(self._registry.enclaves, document=head.document, key_id=prefix[0], now=now)
        grant = self._grants.grant(
            caller.claims,
            request_id=request_id,
            envelope_digest=envelope_digest(prefix),
            now=now,
        )
        own = ((_REQUEST_ID, request_id.encode()),)
        relay = Relay(upload, send)
        started = self._monotonic()
        try:
            await relay.run(enclave.upstream, _TARGET, (*_FIXED, (_GRANT, grant), *own), own)
        except NoEnclaveAvailable:
            self._registry.unreachable(enclave)
            raise
        except TransportError as error:
            enclave.poll_soon()
            raise GatewayError(
                "the enclave went away before it answered; it may have begun",
                status=502,
                code="enclave-lost",
            ) from error
        finally:
            self._note(caller, enclave, upload, relay, request_id, now, started)

    def _note(
        self,
        caller: Caller,
        enclave: Enclave,
        upload: Upload,
        relay: Relay,
        request_id: str,
        now: float,
        started: float,
    ) -> None:
        elapsed = self._monotonic() - started
        principal = caller.principal
        self._ledger.add(
            RequestRow(
                request_id,
                principal.domain,
                principal.key_id,
                enclave.url,
                int(now),
                int(elapsed * 1000),
                upload.count,
                relay.bytes_down,
                relay.status,
                relay.outcome,
            )
        )
        self._instruments.relayed(relay.outcome, upload.count, relay.bytes_down, elapsed)
        enclave.note_answer()
        if relay.outcome == "refused":
            # Perhaps its keys changed since the last poll; the client will look next.
            self._registry.refresh(enclave)
        elif relay.outcome == "failed":
            enclave.poll_soon()
        if enabled("info"):
            event(
                "relayed",
                request_id=request_id,
                key_id=principal.key_id,
                enclave=enclave.name,
                bytes_up=upload.count,
                bytes_down=relay.bytes_down,
                status=relay.status,
                outcome=relay.outcome,
                duration_ms=int(elapsed * 1000),
            )
