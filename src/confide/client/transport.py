"""Transports for httpx2 that seal every request and send it to one gateway.

    client = OpenAI(
        base_url="https://confide.invalid/v1",
        http_client=httpx2.Client(transport=EncryptedTransport(gateway, policy)),
    )

Both classes drive the same flow (`confide.client.flow`) and decide nothing themselves.
An answer is opened while it arrives; closing the response closes the connection to the
gateway. An answer that is cut off raises `StreamTruncated` where its next bytes would be.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import httpx2

from confide.client.drivers import AsyncBody, AsyncDriver, Body, Driver
from confide.client.effects import Alone, Flow
from confide.client.flow import establish, exchange
from confide.client.httpx_errors import as_httpx
from confide.client.messages import Answer, PlainRequest
from confide.client.outer import (
    Outer,
    answer_headers,
    gateway_answer,
    plain_request,
    refuse_other_hosts,
    unsealed_answer,
)
from confide.client.retries import RETRY_HEADER, RetryGuard
from confide.client.sessions import Sessions
from confide.errors import ConfideError, ConfigError, GatewayError, InvalidRequest

if TYPE_CHECKING:
    from confide.attest.policy import AppraisalPolicy
    from confide.attest.results import EnclaveVerifier, Verdict

__all__ = ["AsyncEncryptedTransport", "EncryptedTransport"]

# Every open stream holds a connection; the gateway, not this side, limits their number.
_LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)


class _Shared:
    """What both transports hold."""

    def __init__(
        self,
        gateway: str,
        policy: AppraisalPolicy | None,
        api_key: str | None,
        verifier: EnclaveVerifier | None,
        enclave: str | None,
        clock: Callable[[], float],
    ) -> None:
        self.outer = Outer(gateway, api_key, enclave)
        self.sessions = Sessions(_verifier(policy, verifier), clock)
        self.retries = RetryGuard()

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts of the replicas that are verified now; empty before the first request."""
        return self.sessions.verdicts

    def _flow(self, request: httpx2.Request, plain: PlainRequest) -> Flow[tuple[Answer, bytes]]:
        self.retries.refuse_repetition(plain.path, plain.body, request.headers.get(RETRY_HEADER))
        authorization = self.outer.authorization(request)
        return exchange(plain, self.sessions, authorization=authorization)

    def _failure(
        self, error: ConfideError, request: httpx2.Request, plain: PlainRequest
    ) -> ConfideError:
        self.retries.remember(plain.path, plain.body, error)
        return as_httpx(error, request)


def _verifier(policy: AppraisalPolicy | None, verifier: EnclaveVerifier | None) -> EnclaveVerifier:
    # An absent expectation is a refusal: there is no default policy that accepts anything.
    if (policy is None) == (verifier is None):
        raise ConfigError(
            "say what evidence is good enough: exactly one of policy and verifier",
            hint="docs/how-to/openai-clients.md shows how to load a policy",
        )
    if verifier is not None:
        return verifier
    from confide.attest.collateral import History
    from confide.attest.verifier import Verifier

    assert policy is not None  # noqa: S101 - tells the type checker what was checked above
    # Older lists than this process has seen are refused; a cache remembers for longer.
    return Verifier(policy, endorsements=(History(),))


class EncryptedTransport(_Shared, httpx2.BaseTransport):
    """Seals requests to https://confide.invalid and sends them through one gateway.

    Safe to share between threads.

    Args:
        gateway: Base URL of the gateway.
        policy: What evidence is accepted. Exactly one of policy and verifier.
        api_key: Credential for the gateway. Default: the bearer credential of each request.
        verifier: Decides about evidence instead of a policy.
        enclave: Ask this enclave, by its base URL, for its key document and evidence, and use
            no other. Default: whatever enclaves the gateway lists.
        transport: Connects to the gateway. Default: httpx2's own.
        clock: Unix seconds.

    Raises:
        ConfigError: Neither or both of policy and verifier, or an unusable URL or key.
    """

    def __init__(
        self,
        gateway: str,
        policy: AppraisalPolicy | None = None,
        *,
        api_key: str | None = None,
        verifier: EnclaveVerifier | None = None,
        enclave: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the SDK's user may pass another
    ) -> None:
        super().__init__(gateway, policy, api_key, verifier, enclave, clock)
        self._transport = httpx2.HTTPTransport(limits=_LIMITS) if transport is None else transport
        self._alone = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request sealed; see `confide.client.flow.exchange` for the errors.

        A refusal of the gateway comes back as a response in OpenAI's shape with the header
        `x-confide-origin: gateway`; headers that cannot be sealed, with `x-confide-origin: client`.
        """
        refuse_other_hosts(request.url)
        body = request.read()
        try:
            plain = plain_request(request, body)
        except InvalidRequest as error:
            return unsealed_answer(error)
        driver = Driver(self._transport, self.outer, self._alone, request)
        try:
            answer, first = driver.run(self._flow(request, plain))
        except GatewayError as error:
            driver.close()
            return gateway_answer(error)
        except ConfideError as error:
            driver.close()
            raise self._failure(error, request, plain) from error
        except BaseException:
            driver.close()
            raise
        fail = partial(self._failure, request=request, plain=plain)
        return _response(answer, Body(driver, answer, first, fail))

    def verify(self) -> tuple[Verdict, ...]:
        """Verify every replica now, whatever is known already, and return the verdicts.

        Raises:
            ConfideError: No replica was accepted, or the gateway could not be asked.
        """
        request = httpx2.Request("GET", self.outer.gateway)
        driver = Driver(self._transport, self.outer, self._alone, request)
        driver.run(_alone(self.sessions))
        return self.verdicts

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._transport.close()


class AsyncEncryptedTransport(_Shared, httpx2.AsyncBaseTransport):
    """`EncryptedTransport` for asyncio. Use it in one event loop."""

    def __init__(
        self,
        gateway: str,
        policy: AppraisalPolicy | None = None,
        *,
        api_key: str | None = None,
        verifier: EnclaveVerifier | None = None,
        enclave: str | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the SDK's user may pass another
    ) -> None:
        super().__init__(gateway, policy, api_key, verifier, enclave, clock)
        self._transport = (
            httpx2.AsyncHTTPTransport(limits=_LIMITS) if transport is None else transport
        )
        self._alone = asyncio.Lock()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request sealed; see `EncryptedTransport.handle_request`."""
        refuse_other_hosts(request.url)
        body = await request.aread()
        try:
            plain = plain_request(request, body)
        except InvalidRequest as error:
            return unsealed_answer(error)
        driver = AsyncDriver(self._transport, self.outer, self._alone, request)
        try:
            answer, first = await driver.run(self._flow(request, plain))
        except GatewayError as error:
            await driver.close()
            return gateway_answer(error)
        except ConfideError as error:
            await driver.close()
            raise self._failure(error, request, plain) from error
        except BaseException:
            await driver.close()
            raise
        fail = partial(self._failure, request=request, plain=plain)
        return _response(answer, AsyncBody(driver, answer, first, fail))

    async def verify(self) -> tuple[Verdict, ...]:
        """Verify every replica now; see `EncryptedTransport.verify`."""
        request = httpx2.Request("GET", self.outer.gateway)
        driver = AsyncDriver(self._transport, self.outer, self._alone, request)
        await driver.run(_alone(self.sessions))
        return self.verdicts

    async def aclose(self) -> None:
        """Close the connections to the gateway."""
        await self._transport.aclose()


def _alone(sessions: Sessions) -> Flow[None]:
    yield Alone(partial(establish, sessions))


def _response(answer: Answer, stream: Body | AsyncBody) -> httpx2.Response:
    return httpx2.Response(
        answer.status,
        headers=answer_headers(answer),
        stream=stream,
        extensions={"confide_answer": answer},
    )
