"""Drive a flow: perform its effects with blocking calls, or in an event loop.

The two halves of this module say the same thing twice, once without and once with
`await`. Neither holds a decision: what to fetch, when to send again and what an error
means is in `confide.client.flow`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar

import httpx2

from confide.client.effects import Alone, Effect, Fetch, Flow, Head, Post, Reply
from confide.client.httpx_errors import ours
from confide.client.messages import Answer
from confide.client.outer import Outer
from confide.errors import ConfideError, TransportError

__all__ = ["AsyncBody", "AsyncDriver", "Body", "Driver"]

T = TypeVar("T")
Fail: TypeAlias = Callable[[ConfideError], ConfideError]


def _head(response: httpx2.Response) -> Head:
    return Head(response.status_code, response.headers)


def _reply(response: httpx2.Response, body: bytearray) -> Reply:
    return Reply(response.status_code, response.headers, bytes(body))


def _within(limit: int, body: bytearray) -> None:
    if len(body) > limit:
        raise TransportError(f"the gateway sent more than {limit} bytes", code="too-long")


class Driver:
    """Performs the effects of one flow with blocking calls."""

    def __init__(
        self,
        transport: httpx2.BaseTransport,
        outer: Outer,
        alone: threading.Lock,
        request: httpx2.Request,
    ) -> None:
        self._transport, self._outer, self._alone = transport, outer, alone
        self._request = request
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def run(self, flow: Flow[T]) -> T:
        """Perform a flow to its end; its errors are raised here."""
        act: Callable[[], Effect] = partial(flow.send, None)
        while True:
            try:
                effect = act()
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                act = partial(flow.send, self._perform(effect))
            except ConfideError as error:
                act = partial(flow.throw, error)

    def read(self) -> bytes:
        """Next bytes of the answer that is open; empty at its end."""
        with self._mapped():
            return next(filter(None, self._chunks), b"")

    def close(self) -> None:
        """Close the answer that is open, if any."""
        if self._response is not None:
            self._response.close()

    def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, Alone):
            with self._alone:
                return self.run(effect.flow())
        if isinstance(effect, Fetch):
            return self._fetch(effect)
        if isinstance(effect, Post):
            return self._post(effect)
        return self.read()

    def _fetch(self, effect: Fetch) -> Reply:
        body = bytearray()
        with self._mapped():
            response = self._transport.handle_request(self._outer.fetch(effect))
            with contextlib.closing(response):
                for piece in _sync(response):
                    body += piece
                    _within(effect.limit, body)
        return _reply(response, body)

    def _post(self, effect: Post) -> Head:
        self.close()
        with self._mapped():
            self._response = self._transport.handle_request(self._outer.post(effect, self._request))
        self._chunks = iter(_sync(self._response))
        return _head(self._response)

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise ours(error, self._outer.gateway) from error


class AsyncDriver:
    """Performs the effects of one flow in an event loop."""

    def __init__(
        self,
        transport: httpx2.AsyncBaseTransport,
        outer: Outer,
        alone: asyncio.Lock,
        request: httpx2.Request,
    ) -> None:
        self._transport, self._outer, self._alone = transport, outer, alone
        self._request = request
        self._response: httpx2.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def run(self, flow: Flow[T]) -> T:
        """Perform a flow to its end; its errors are raised here."""
        act: Callable[[], Effect] = partial(flow.send, None)
        while True:
            try:
                effect = act()
            except StopIteration as stop:
                result: T = stop.value
                return result
            try:
                act = partial(flow.send, await self._perform(effect))
            except ConfideError as error:
                act = partial(flow.throw, error)

    async def read(self) -> bytes:
        """Next bytes of the answer that is open; empty at its end."""
        if self._chunks is not None:
            with self._mapped():
                async for piece in self._chunks:
                    if piece:
                        return piece
        return b""

    async def close(self) -> None:
        """Close the answer that is open, if any."""
        if self._response is not None:
            await self._response.aclose()

    async def _perform(self, effect: Effect) -> Any:
        if isinstance(effect, Alone):
            async with self._alone:
                return await self.run(effect.flow())
        if isinstance(effect, Fetch):
            return await self._fetch(effect)
        if isinstance(effect, Post):
            return await self._post(effect)
        return await self.read()

    async def _fetch(self, effect: Fetch) -> Reply:
        body = bytearray()
        with self._mapped():
            response = await self._transport.handle_async_request(self._outer.fetch(effect))
            async with contextlib.aclosing(response):
                async for piece in _async(response):
                    body += piece
                    _within(effect.limit, body)
        return _reply(response, body)

    async def _post(self, effect: Post) -> Head:
        await self.close()
        with self._mapped():
            self._response = await self._transport.handle_async_request(
                self._outer.post(effect, self._request)
            )
        self._chunks = aiter(_async(self._response))
        return _head(self._response)

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise ours(error, self._outer.gateway) from error


def _sync(response: httpx2.Response) -> httpx2.SyncByteStream:
    assert isinstance(response.stream, httpx2.SyncByteStream)  # noqa: S101 - httpx2's contract
    return response.stream


def _async(response: httpx2.Response) -> httpx2.AsyncByteStream:
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - httpx2's contract
    return response.stream


class Body(httpx2.SyncByteStream):
    """Opens an answer while it is read."""

    def __init__(self, driver: Driver, answer: Answer, first: bytes, fail: Fail) -> None:
        self._driver, self._answer, self._first, self._fail = driver, answer, first, fail

    def __iter__(self) -> Iterator[bytes]:
        first, self._first = self._first, b""
        if first:
            yield first
        try:
            while not self._answer.ended:
                content = self._next()
                if content:
                    yield content
        except ConfideError as error:
            self._driver.close()
            raise self._fail(error) from error

    def _next(self) -> bytes:
        try:
            content = self._driver.read()
        except TransportError as error:
            return self._answer.cut(error)
        return self._answer.feed(content) if content else self._answer.finish()

    def close(self) -> None:
        """Close the connection; the gateway and the enclave notice and stop."""
        self._driver.close()


class AsyncBody(httpx2.AsyncByteStream):
    """Opens an answer while it is read."""

    def __init__(self, driver: AsyncDriver, answer: Answer, first: bytes, fail: Fail) -> None:
        self._driver, self._answer, self._first, self._fail = driver, answer, first, fail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        first, self._first = self._first, b""
        if first:
            yield first
        try:
            while not self._answer.ended:
                content = await self._next()
                if content:
                    yield content
        except ConfideError as error:
            await self._driver.close()
            raise self._fail(error) from error

    async def _next(self) -> bytes:
        try:
            content = await self._driver.read()
        except TransportError as error:
            return self._answer.cut(error)
        return self._answer.feed(content) if content else self._answer.finish()

    async def aclose(self) -> None:
        """Close the connection; the gateway and the enclave notice and stop."""
        await self._driver.close()
