"""Send an answer through the seal: whole, or as a stream on a beat.

A whole answer leaves in one piece, padded to a bucket at its end. A stream leaves on a
beat: events that arrive between two beats share one sealed, padded chunk, so that neither
the size nor the moment of a single token is seen. The first events leave at once; after
that a chunk waits one tick at most. With a tick of zero each event leaves as it comes, and
with the profile `constant` every beat carries a chunk, if need be of padding only.

The end is always sealed, and carries the signed usage statement as a trailer.

Source: protocol.md sections 4 to 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from confide.enclave.handlers import Answer
from confide.enclave.http_exchange import Exchange
from confide.enclave.inference.answer import RoutedResponse
from confide.enclave.inference.backend import EVENT_STREAM
from confide.enclave.inference.metering import engine_error_event
from confide.enclave.usage_ledger import Outcome, UsageLine
from confide.sealing.exchange import ResponseSealer
from confide.sealing.padding import PaddingProfile
from confide.telemetry.logs import event
from confide.wire.media_types import CHUNKED_RESPONSE

__all__ = ["SealedAnswer"]

_HIGH_WATER: Final = 1024 * 1024  # bytes of events that may wait for a slow reader
_CLOSE_WITHIN_S: Final = 5.0
_INCREMENTAL: Final = (b"incremental", b"?1")


@dataclass
class SealedAnswer:
    """Sends one answer, once.

    Attributes:
        exchange: Where it goes.
        sealer: Seals it.
        profile: Padding and beat.
        request_id: The gateway's id of the request.
        line: The reserved usage statement; None for requests that cost nothing.
    """

    exchange: Exchange
    sealer: ResponseSealer
    profile: PaddingProfile
    request_id: str
    line: UsageLine | None

    async def send(self, answer: Answer, *, outcome: Outcome = "complete") -> Outcome:
        """Send an answer to its sealed end.

        Args:
            answer: What the handler gave.
            outcome: How the request ended, for an answer that is whole.

        Returns:
            How the request ended.
        """
        routed = answer.routed
        if routed is None:
            await self._send_whole(answer, answer.body, self._trailers(outcome, None))
            return outcome
        try:
            if routed.content_type == EVENT_STREAM:
                return await self._send_stream(answer, routed)
            content = b"".join([piece async for piece in routed.body])
            await self._send_whole(answer, content, self._trailers("complete", routed))
            return "complete"
        finally:
            await self._release(routed)

    async def _send_whole(
        self, answer: Answer, content: bytes, trailers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        sealed = (
            self.sealer.head(answer.status, self._inner_headers(answer), streamed=False)
            + self.sealer.body(content)
            + self.sealer.end(trailers)
        )
        await self._start(length=len(sealed))
        await self.exchange.write(sealed, more=False)

    async def _send_stream(self, answer: Answer, routed: RoutedResponse) -> Outcome:
        head = self.sealer.head(answer.status, self._inner_headers(answer), streamed=True)
        await self._start()
        await self.exchange.write(head, more=True)
        outcome: Outcome = "failed"
        try:
            if self.profile.tick_ms == 0:
                async for events in routed.body:
                    await self.exchange.write(self.sealer.body(events), more=True)
            else:
                await _Beat(self, routed).send_all()
            outcome = routed.outcome or "complete"
        except Exception as error:  # noqa: BLE001 - top of the request
            # After the head nothing may end without a sealed end: a cut would look like the
            # network's fault. The router reports dead engines as an event, so this is a defect.
            event("answer-defect", level="error", error=type(error).__name__)
            await self.exchange.write(self.sealer.body(engine_error_event()), more=True)
        await self.exchange.write(self.sealer.end(self._trailers(outcome, routed)), more=False)
        return outcome

    async def write_events(self, events: bytes) -> None:
        """Seal and send one chunk of whole events; padding only if there are none."""
        if sealed := self.sealer.body(events):
            await self.exchange.write(sealed, more=True)

    async def _start(self, length: int | None = None) -> None:
        headers = [
            (b"content-type", CHUNKED_RESPONSE.encode()),
            _INCREMENTAL,
            (b"confide-request-id", self.request_id.encode()),
        ]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await self.exchange.start(headers)

    def _inner_headers(self, answer: Answer) -> tuple[tuple[bytes, bytes], ...]:
        return (*answer.headers, (b"x-request-id", self.request_id.encode()))

    def _trailers(
        self, outcome: Outcome, routed: RoutedResponse | None
    ) -> tuple[tuple[bytes, bytes], ...]:
        if self.line is None:
            return ()
        signed = self.close_line(outcome, routed)
        return ((b"confide-usage", signed.encode()),) if signed else ()

    def close_line(self, outcome: Outcome, routed: RoutedResponse | None) -> str | None:
        """Write the usage statement; a second call returns the first one's text."""
        if self.line is None:
            return None
        usage = routed.usage if routed else None
        model_class = routed.model_class if routed else None
        return self.line.close(outcome, usage, model_class).encode()

    async def _release(self, routed: RoutedResponse) -> None:
        """Give the backend up if it still runs, and account for what it did."""
        try:
            if routed.outcome is None:
                await asyncio.wait_for(asyncio.shield(_close(routed)), _CLOSE_WITHIN_S)
            else:  # it ended, and its engine let go: there is nothing to wait for
                await _close(routed)
        finally:
            self.close_line("cancelled", routed)


async def _close(routed: RoutedResponse) -> None:
    await routed.aclose()
    if isinstance(routed.body, AsyncGenerator):
        await routed.body.aclose()


class _Beat:
    """Moves events from a backend to the peer, one chunk per tick.

    One task reads; the caller's task sends. They share a buffer, and the reader waits when
    the peer does not keep up.
    """

    def __init__(self, answer: SealedAnswer, routed: RoutedResponse) -> None:
        self._answer = answer
        self._routed = routed
        self._tick_s = answer.profile.tick_ms / 1000
        self._constant = answer.profile.name == "constant"
        self._waiting = bytearray()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False

    async def send_all(self) -> None:
        """Send until the backend's answer ends; raises what its body raises."""
        reader = asyncio.ensure_future(self._read())
        try:
            await self._send_on_the_beat()
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for events in self._routed.body:
                self._waiting += events
                self._arrived.set()
                if len(self._waiting) > _HIGH_WATER:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._arrived.set()

    async def _send_on_the_beat(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        beat = started
        while not (self._ended and not self._waiting):
            if not self._constant:
                await self._arrived.wait()
            if (pause := beat - loop.time()) > 0:
                await asyncio.sleep(pause)
            events = bytes(self._waiting)
            self._waiting.clear()
            if not self._ended:
                self._arrived.clear()
            self._room.set()
            if events or self._constant:
                await self._answer.write_events(events)
            # Beats lie on a grid from the start of the answer, whenever events come.
            beat = started + (int((loop.time() - started) / self._tick_s) + 1) * self._tick_s
