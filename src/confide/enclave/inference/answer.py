"""An answer on its way to the client: whole events, usage at the end, one way to give it up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal, TypeAlias

from confide.enclave.inference.backend import (
    AUDIO,
    EVENT_STREAM,
    JSON,
    Backend,
    BackendResponse,
    BackendUnavailable,
    Operation,
    Usage,
)
from confide.enclave.inference.events import EventSplitter, EventTooLong
from confide.enclave.inference.metering import (
    StreamMeter,
    TypedMeter,
    engine_error_event,
    estimate_tokens,
    typed_error_event,
    usage_of,
)
from confide.enclave.inference.requests import PreparedRequest
from confide.enclave.inference.responses_api import FINAL_EVENTS

__all__ = ["Outcome", "RoutedResponse", "open_answer"]

Outcome: TypeAlias = Literal["complete", "cancelled", "failed"]

#: Largest whole answer in bytes.
MAX_ANSWER: Final = 64 * 1024 * 1024
#: Media types of a transcript as text, SubRip or WebVTT, besides JSON.
_TRANSCRIPTS: Final = frozenset(
    {"text/plain", "text/vtt", "text/srt", "application/x-subrip", "application/srt"}
)
_TRANSCRIPT_END: Final = frozenset({"transcript.text.done"})


class RoutedResponse:
    """The answer of one backend.

    Iterate `body` to its end, or call `aclose`. A stream yields whole server-sent events,
    one or more per item; if the engine dies midway the last event is an error object and
    `outcome` is "failed", so `body` itself does not raise. A whole answer is one item.

    Attributes:
        status: HTTP status, 200.
        content_type: `EVENT_STREAM`, `JSON` or, of a transcript, a kind of text.
        body: The answer; iterate once.
        headers: The engine's own, those that the caller gets.
        backend: Name of the backend that answers.
        model_class: Coarse label for usage statements.
        outcome: None until the answer ended.
    """

    def __init__(
        self,
        upstream: BackendResponse,
        body: AsyncIterator[bytes],
        *,
        backend: str,
        usage: Callable[[], Usage],
    ) -> None:
        self.status = upstream.status
        self.content_type = upstream.content_type
        self.headers = upstream.headers
        self.body = body
        self.backend = backend
        self.model_class = "default"
        self.outcome: Outcome | None = None
        self._upstream = upstream
        self._usage = usage

    def __repr__(self) -> str:
        return f"RoutedResponse({self.status}, {self.content_type!r}, outcome={self.outcome!r})"

    @property
    def usage(self) -> Usage:
        """Tokens used; final once `outcome` is set, an estimate before."""
        return self._usage()

    @property
    def given_up(self) -> bool:
        """Whether `aclose` came before the end."""
        return self.outcome == "cancelled"

    def end(self, outcome: Outcome) -> None:
        """Set the outcome, once."""
        if self.outcome is None:
            self.outcome = outcome

    async def aclose(self) -> None:
        """End it. Before the end of `body` this makes the engine stop generating.

        May be called while another task waits for the next item of `body`; that wait ends.
        """
        self.end("cancelled")
        await self._upstream.aclose()


async def open_answer(
    backend: Backend,
    prepared: PreparedRequest,
    *,
    on_failure: Callable[[], None],
) -> RoutedResponse:
    """Ask one backend and wait for the first byte of its answer.

    Args:
        backend: Whom.
        prepared: What.
        on_failure: Called if the engine dies after the first byte.

    Raises:
        BackendUnavailable: It gave no usable first byte; another backend may be asked.
        EnclaveError: The request is at fault, see `Backend.open`.
    """
    upstream = await backend.open(prepared.request)
    try:
        if prepared.request.stream:
            return await _open_stream(backend.name, upstream, prepared, on_failure)
        return await _open_whole(backend.name, upstream, prepared)
    except BaseException:
        # Cancellation too: the engine must not go on for a caller who left.
        await asyncio.shield(upstream.aclose())
        raise


async def _open_whole(
    name: str, upstream: BackendResponse, prepared: PreparedRequest
) -> RoutedResponse:
    is_text = prepared.request.operation in AUDIO and _media_type(upstream) in _TRANSCRIPTS
    if not is_text:
        _expect(upstream, JSON)
    received = bytearray()
    async for piece in upstream.body:
        received += piece
        if len(received) > MAX_ANSWER:
            raise BackendUnavailable("the answer is over the size limit")
    await upstream.aclose()
    content = bytes(received)
    usage = _text_usage(content) if is_text else _usage_of_whole(content, prepared)

    async def body() -> AsyncIterator[bytes]:
        routed.end("complete")
        yield content

    routed = RoutedResponse(upstream, body(), backend=name, usage=lambda: usage)
    return routed


def _text_usage(content: bytes) -> Usage:
    return Usage(0, estimate_tokens(content.decode("utf-8", "replace")), "estimated")


def _usage_of_whole(content: bytes, prepared: PreparedRequest) -> Usage:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise BackendUnavailable("the answer is not JSON") from None
    if not isinstance(answer, dict) or answer.get("error") is not None:
        raise BackendUnavailable("the answer is not what was asked for")
    said = [answer.get(name) for name in ("choices", "output", "text")]
    return usage_of(answer) or Usage(
        estimate_tokens(prepared.prompt), estimate_tokens(said), "estimated"
    )


async def _open_stream(
    name: str,
    upstream: BackendResponse,
    prepared: PreparedRequest,
    on_failure: Callable[[], None],
) -> RoutedResponse:
    _expect(upstream, EVENT_STREAM)
    meter, failure = _meter(prepared)
    events = _events(upstream, meter)
    first = b""
    async for item in events:
        first += item
        if meter.began:  # a keep-alive comment is not an answer yet
            break
    if not meter.began:
        raise BackendUnavailable("the stream ended before it began")

    async def body() -> AsyncIterator[bytes]:
        try:
            yield first
            async for item in events:
                yield item
        except BackendUnavailable:
            meter.failed = True
            if not routed.given_up:
                yield failure
        finally:
            # Left by the caller without aclose, this is a cancellation.
            broken = meter.failed and not routed.given_up
            routed.end("failed" if broken else "complete" if meter.finished else "cancelled")
            if broken:
                on_failure()
            await upstream.aclose()

    routed = RoutedResponse(
        upstream, body(), backend=name, usage=lambda: meter.usage(prepared.prompt)
    )
    return routed


def _meter(prepared: PreparedRequest) -> tuple[StreamMeter, bytes]:
    """Who watches the stream, and the event that ends it if the engine dies."""
    operation = prepared.request.operation
    if operation is Operation.RESPONSES:
        return TypedMeter(final=FINAL_EVENTS), typed_error_event()
    if operation in AUDIO:
        return TypedMeter(final=_TRANSCRIPT_END), typed_error_event()
    return StreamMeter(strip_usage=prepared.strip_usage), engine_error_event()


async def _events(upstream: BackendResponse, meter: StreamMeter) -> AsyncIterator[bytes]:
    """The stream as whole, metered events; stops after `[DONE]` or an engine's error.

    Raises:
        BackendUnavailable: It ended without either, or one event is too long.
    """
    splitter = EventSplitter()
    async for piece in upstream.body:
        try:
            events = splitter.feed(piece)
        except EventTooLong:
            raise BackendUnavailable("an event of the stream is too long") from None
        passed = bytearray()
        for event in events:
            passed += meter.pass_on(event)
            if meter.finished or meter.failed:
                break
        if passed:
            yield bytes(passed)
        if meter.finished or meter.failed:
            return
    # A stream must say that it ended; a cut must not look like a full stop.
    raise BackendUnavailable("the stream was cut")


def _expect(upstream: BackendResponse, content_type: str) -> None:
    if _media_type(upstream) != content_type:
        raise BackendUnavailable("the answer has another media type than was asked for")


def _media_type(upstream: BackendResponse) -> str:
    return upstream.content_type.partition(";")[0]
