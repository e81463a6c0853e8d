"""The door: the one place where a sealed request becomes a request.

    1  the outer headers are ours, and there is room
    2  the request's header names a key that is live
    3  the gateway's grant is for this envelope
    4  decapsulate, and open each chunk as it arrives
    5  the final chunk opened: only now is there a request
    6  its date is in the window, and it was not seen before
    7  it was sealed under a key document that is live and lists this key
    8  the inner authority is one of ours
    9  the inner path picks the handler, the grant says whether it may run
    10 seal the head, the chunks and the end

Steps 1 to 7 refuse with a problem document, because nothing was processed and the client
must be told to change its key or its clock. Every cryptographic failure among them is the
same document. From step 8 on every answer travels sealed, 404 and 500 included.

The peer is watched from the first byte to the last. When it leaves, the task that answers
is cancelled, the engine is stopped, and the usage statement says "cancelled".

Source: protocol.md section 4; RFC 9458 sections 4 and 5; draft-ietf-ohai-chunked-ohttp-08.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from confide.enclave.grants import GrantVerifier
from confide.enclave.handlers import Answer, Call, find_route, refusal_answer
from confide.enclave.handlers.call import ModelRouter, Route
from confide.enclave.http_exchange import ClientGone, Exchange, Message, Receive, Send
from confide.enclave.isolation import IsolationSecrets
from confide.enclave.keyring import Keyring
from confide.enclave.metrics import EnclaveMetrics
from confide.enclave.opened_request import OpenedRequest, date_of, finish_opening, single_header
from confide.enclave.replay import ReplayCache
from confide.enclave.sealed_answer import SealedAnswer
from confide.enclave.usage_ledger import Outcome, UsageLedger
from confide.errors import (
    EnclaveError,
    GatewayError,
    InvalidRequest,
    KeyConfigError,
    NoEnclaveAvailable,
    RequestTooLarge,
    SealingError,
    StreamError,
)
from confide.sealing.exchange import InnerRequest, RequestOpener
from confide.sealing.padding import PaddingProfile
from confide.telemetry.logs import event
from confide.wire.envelope import HEADER_LENGTH, RequestHeader, envelope_digest, prefix_length
from confide.wire.grants import Grant
from confide.wire.inner_headers import forwarded_fields
from confide.wire.media_types import CHUNKED_REQUEST
from confide.wire.problems import Problem, problem_for

__all__ = ["Door", "DoorTerms"]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MAX_FIELDS: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class DoorTerms:
    """What the door accepts.

    Attributes:
        authorities: Inner authorities this enclave answers for.
        max_body: Longest request body inside the seal, in bytes.
        max_requests: Sealed requests in progress at one time.
        receive_within_s: How long a request may take to arrive. One that takes longer than
            the replay window reaches back would be refused for its date anyway.
        profile: Padding of answers.
    """

    authorities: frozenset[str] = frozenset({"confide.invalid"})
    max_body: int = 32 * 1024 * 1024
    max_requests: int = 1_000
    receive_within_s: float = 120.0
    profile: PaddingProfile = field(default_factory=PaddingProfile)


class Door:
    """Opens sealed requests, has them handled, and seals the answers. An ASGI application.

    Args:
        terms: What is accepted.
        keyring: Holds the keys.
        grants: Checks the gateway's grants.
        replay: Remembers what was answered.
        router: Reaches the models.
        ledger: Takes the usage statements.
        metrics: Counts.
    """

    def __init__(
        self,
        terms: DoorTerms,
        *,
        keyring: Keyring,
        grants: GrantVerifier,
        replay: ReplayCache,
        router: ModelRouter,
        ledger: UsageLedger,
        metrics: EnclaveMetrics,
    ) -> None:
        self._terms = terms
        self._keyring = keyring
        self._grants = grants
        self._replay = replay
        self._router = router
        self._ledger = ledger
        self._metrics = metrics
        self._isolation = IsolationSecrets()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one POST of a sealed request."""
        exchange = Exchange(scope, receive, send)
        request_id = exchange.header(b"confide-request-id")
        with self._metrics.request():
            try:
                async with asyncio.timeout(self._terms.receive_within_s):
                    opened = await self.open(exchange)
            except ClientGone:
                self._metrics.refused("gone")
            except TimeoutError:
                self._metrics.refused("timeout")
                await exchange.refuse(Problem.of("request-timeout", 408))
            except (GatewayError, SealingError) as error:
                self._metrics.refused(error.code)
                known = request_id if _REQUEST_ID.fullmatch(request_id) else None
                await exchange.refuse(problem_for(error, request_id=known))
            else:
                outcome = await self._while_peer_is_there(exchange, self.answer(exchange, opened))
                self._metrics.answered(outcome)
                event("answered", request_id=opened.grant.request_id, outcome=outcome)

    async def open(self, exchange: Exchange) -> OpenedRequest:
        """Steps 1 to 7: from bytes to a request that may be acted on.

        Raises:
            ClientGone: The peer left before the end of its request.
            GatewayError: No grant, not our media type, too large, too busy.
            SealingError: It did not open, is a replay, or is sealed to something old.
        """
        # 1. Outer headers.
        self._check_outer(exchange)
        # 2. The first 7 bytes name the key.
        pieces = exchange.pieces()
        received = bytearray()
        await _receive_at_least(pieces, received, HEADER_LENGTH)
        header = RequestHeader.parse(bytes(received[:HEADER_LENGTH]))
        if self._keyring.find_key(header.key_id) is None:
            raise KeyConfigError("no live key has this id")
        # 3. The grant is bound to header and encapsulated key.
        prefix_end = prefix_length(header)
        await _receive_at_least(pieces, received, prefix_end)
        encapsulated_key = bytes(received[HEADER_LENGTH:prefix_end])
        grant = self._grants.verify(
            exchange.header(b"confide-grant"),
            envelope_digest=envelope_digest(bytes(received[:prefix_end])),
            request_id=exchange.header(b"confide-request-id"),
        )
        # 4. Decapsulate; open chunks as they come; nothing is looked at yet.
        opener = RequestOpener(
            self._keyring.find_key,
            max_body=self._terms.max_body,
            max_fields=_MAX_FIELDS,
            profile=self._terms.profile,
        )
        opener.feed(bytes(received))
        async for piece in pieces:
            opener.feed(piece)
        # 5. The end, under the key.
        opened = finish_opening(opener, grant)
        # 6. Once, and now. 7. Under a document that is live.
        if opened.request is None:
            self._replay.accept_undated(encapsulated_key)
        else:
            self._replay.accept(date_of(opened.request), encapsulated_key)
            self._check_document(opened.request, header.key_id)
        return opened

    async def answer(self, exchange: Exchange, opened: OpenedRequest) -> Outcome:
        """Steps 8 to 10: handle the request and seal what comes of it.

        Returns:
            How the request ended.
        """
        sealed = SealedAnswer(
            exchange, opened.sealer, self._terms.profile, opened.grant.request_id, line=None
        )
        try:
            answer, outcome = await self._handle(opened, sealed)
            return await sealed.send(answer, outcome=outcome)
        finally:
            # Only a request whose task was cancelled has its line still open here.
            sealed.close_line("cancelled", None)

    async def _handle(self, opened: OpenedRequest, sealed: SealedAnswer) -> tuple[Answer, Outcome]:
        try:
            request = self._check_inner(opened)
            route, tail = find_route(request.method, request.path)
            self._open_line(opened.grant, route, sealed)
            call = Call(
                request.body,
                tail,
                opened.grant,
                self._router,
                self._isolation.secret_for(opened.grant.domain),
                query=request.path.partition("?")[2],
                content_type=single_header(request, b"content-type"),
                headers=forwarded_fields(request.headers),
            )
            return await route.handle(call), "complete"
        except EnclaveError as error:
            return refusal_answer(error), "refused" if error.status < 500 else "failed"
        except Exception as error:  # noqa: BLE001 - top of the request: a defect must go sealed too
            event("handler-defect", level="error", error=type(error).__name__)
            defect = EnclaveError("the enclave could not answer", code="internal-error")
            return refusal_answer(defect), "failed"

    def _open_line(self, grant: Grant, route: Route, sealed: SealedAnswer) -> None:
        if route.operation is not None:
            sealed.line = self._ledger.open_line(grant, route.operation)

    def _check_outer(self, exchange: Exchange) -> None:
        if self._metrics.open_requests > self._terms.max_requests:
            raise NoEnclaveAvailable("too many requests are in progress", code="enclave-busy")
        if exchange.header(b"content-type") != CHUNKED_REQUEST:
            raise GatewayError(
                f"the body must be {CHUNKED_REQUEST}", status=415, code="media-type-unknown"
            )
        if not _REQUEST_ID.fullmatch(exchange.header(b"confide-request-id")):
            raise GatewayError("confide-request-id is missing", status=400, code="request-id")
        length = exchange.header(b"content-length")
        # Padding adds at most an eighth (protocol.md section 6), framing less than a hundredth.
        if length.isdigit() and int(length) > self._terms.max_body * 5 // 4 + 4 * _MAX_FIELDS:
            raise RequestTooLarge("the sealed request is too large")

    def _check_document(self, request: InnerRequest, key_id: int) -> None:
        digest = single_header(request, b"confide-document")
        document = self._keyring.find_document(digest)
        if document is None or key_id not in {config.key_id for config in document.key_configs}:
            raise KeyConfigError("the request was sealed under a key document that is not live")

    def _check_inner(self, opened: OpenedRequest) -> InnerRequest:
        if opened.request is None:
            raise opened.refusal or InvalidRequest("the sealed message is no request")
        request = opened.request
        if request.scheme != "https" or request.authority not in self._terms.authorities:
            raise EnclaveError(
                "this enclave does not answer for that authority",
                status=421,
                code="authority-unknown",
            )
        return request

    async def _while_peer_is_there(
        self, exchange: Exchange, answering: Coroutine[Any, Any, Outcome]
    ) -> Outcome:
        answer = asyncio.ensure_future(answering)
        left = asyncio.ensure_future(exchange.peer_left())
        try:
            await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Servers also report a peer as gone once the answer is complete; then the task
            # only has its last words to say.
            if not exchange.answered:
                answer.cancel()
            left.cancel()
            await asyncio.gather(answer, left, return_exceptions=True)
        return "cancelled" if answer.cancelled() else answer.result()


async def _receive_at_least(pieces: AsyncIterator[bytes], received: bytearray, length: int) -> None:
    while len(received) < length:
        piece = await anext(pieces, None)
        if piece is None:
            raise StreamError("the request ended inside its header")
        received += piece
