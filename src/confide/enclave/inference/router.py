"""Model name to healthy backend; fail over before the first byte of an answer only.

The order of a model's backends is the order of preference. A backend is passed over when its
probes fail or its breaker is open. If it refuses or dies before its first byte, the next one
is asked, and the caller notices nothing; after that byte there is no second try, because the
answer would have two beginnings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from confide.enclave.inference.answer import RoutedResponse, open_answer
from confide.enclave.inference.backend import (
    Backend,
    BackendRequest,
    BackendUnavailable,
    ModelInfo,
    Operation,
    TokenCounter,
)
from confide.enclave.inference.body import JSONBody
from confide.enclave.inference.breaker import Breaker, BreakerState
from confide.enclave.inference.catalog import Catalog, CatalogEntry
from confide.enclave.inference.form import FormBody
from confide.enclave.inference.health import HealthMonitor, HealthSettings, HealthState
from confide.enclave.inference.requests import PreparedRequest, prepare_request
from confide.errors import (
    ConfideError,
    EnclaveError,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
)
from confide.telemetry.logs import event
from confide.wire.inner_headers import Fields

__all__ = ["BackendStatus", "Router", "RouterSettings", "TokenCount"]


@dataclass(frozen=True)
class RouterSettings:
    """How the router deals with failing backends.

    Attributes:
        health: Probes.
        breaker_threshold: Failed requests in a row that open a backend's breaker.
        breaker_reset_s: Seconds until it is tried again.
    """

    health: HealthSettings = field(default_factory=HealthSettings)
    breaker_threshold: int = 3
    breaker_reset_s: float = 10.0


@dataclass(frozen=True)
class BackendStatus:
    """One backend, for health pages and metrics.

    Attributes:
        name: In the settings.
        kind: Kind of engine.
        health: What the probes say.
        breaker: What recent requests say.
        probed_at: Unix time of the last probe, or None.
    """

    name: str
    kind: str
    health: HealthState
    breaker: BreakerState
    probed_at: float | None


@dataclass(frozen=True)
class TokenCount:
    """How long a chat's prompt is.

    Attributes:
        input_tokens: Tokens, after the model's template.
        context_length: Tokens of prompt and answer that fit, if known.
    """

    input_tokens: int
    context_length: int | None


class Router:
    """Routes requests to the backends of the catalog's models.

    Args:
        catalog: The models on offer; a `Catalog`, or entries to check against `backends`.
        backends: By name. The router starts and stops them.
        now: Unix time in seconds.
        settings: Health and breakers.
        monotonic: Seconds that never jump.
        sleep: Waits between probes; replaced in tests.

    Raises:
        ConfigError: The catalog's entries are not usable with these backends.
    """

    def __init__(
        self,
        catalog: Catalog | Iterable[CatalogEntry],
        backends: Mapping[str, Backend],
        now: Callable[[], float],
        *,
        settings: RouterSettings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings or RouterSettings()
        self._backends = dict(backends)
        self._catalog = catalog if isinstance(catalog, Catalog) else Catalog(catalog, backends)
        self._breakers = {
            name: Breaker(
                monotonic,
                threshold=self._settings.breaker_threshold,
                reset_after_s=self._settings.breaker_reset_s,
            )
            for name in backends
        }
        self._health = HealthMonitor(
            backends, now, settings=self._settings.health, monotonic=monotonic, sleep=sleep
        )
        self._started: list[Backend] = []

    def models(self) -> list[ModelInfo]:
        """The models on offer, whether or not a backend of theirs is healthy now."""
        return [entry.info for entry in self._catalog]

    def status(self) -> list[BackendStatus]:
        """The state of every backend."""
        return [
            BackendStatus(
                name,
                backend.kind,
                self._health.states[name].state,
                self._breakers[name].state,
                self._health.states[name].probed_at,
            )
            for name, backend in self._backends.items()
        ]

    def available(self, model: str) -> bool:
        """Whether a request for this model would find a backend now."""
        return any(
            self._health.usable(name) and self._breakers[name].state is not BreakerState.OPEN
            for entry in self._catalog
            if entry.name == model
            for name in entry.backends
        )

    async def start(self) -> None:
        """Start every backend and probe each once.

        A backend that is merely down is ejected and probed again later.

        Raises:
            ConfigError: One cannot work as it is set up; those already started are stopped.
        """
        try:
            for backend in self._backends.values():
                self._started.append(backend)
                await backend.start()
            await self._health.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop probing and stop every backend. Safe to call twice."""
        await self._health.stop()
        while self._started:
            await self._started.pop().stop()

    async def route(
        self,
        operation: Operation,
        model: str,
        body: bytes | JSONBody | FormBody,
        fields: Mapping[str, object],
        stream: bool,
        isolation: bytes,
        headers: Fields = (),
    ) -> RoutedResponse:
        """Ask the first healthy backend of a model, and others if it fails to begin.

        Returns when the first byte of the answer is here: for a whole answer that is when it
        is complete. Cancelling the task that waits makes the engine stop.

        Args:
            operation: What is asked.
            model: Name in the catalog.
            body: The client's JSON object or form, parsed by this package if it was parsed
                before.
            fields: The same, parsed by the caller; checked against `body`.
            stream: Whether the client asked for a stream.
            isolation: 32 secret bytes of the caller's domain.
            headers: The caller's, those that an engine may see.

        Raises:
            ModelNotFound: Not offered.
            ModelUnavailable: No backend of it can answer now.
            InvalidRequest: The request is at fault; `param` names the field.
            ContextTooLong: The prompt does not fit.
        """
        entry = self._catalog.find(model, operation)
        parsed = JSONBody(body) if isinstance(body, bytes) else body
        if parsed.fields.keys() != fields.keys():
            raise InvalidRequest("the body is not what the caller took it for")
        prepared = self._prepared(entry, operation, parsed, stream, isolation, headers)
        answer = await self._first_answer(entry, prepared)
        answer.model_class = entry.model_class
        return answer

    async def count_tokens(self, model: str, body: JSONBody, isolation: bytes) -> TokenCount:
        """Count the tokens of a chat's prompt with the model's own tokenizer.

        Args:
            model: Name in the catalog.
            body: Names messages and perhaps tools.
            isolation: 32 secret bytes of the caller's domain.

        Raises:
            ModelNotFound: Not offered.
            EnclaveError: 501, no backend of the model can count.
            ModelUnavailable: Those that can do not answer now.
            InvalidRequest: The request is at fault.
        """
        entry = self._catalog.find(model, Operation.CHAT)
        prepared = self._prepared(entry, Operation.CHAT, body, False, isolation)
        refusal: ConfideError | None = None
        counters = [name for name in entry.backends if self._counts(name)]
        if not counters:
            raise EnclaveError(
                "this model's engine does not count tokens", status=501, code="not-implemented"
            )
        for name in counters:
            if not self._health.usable(name):
                continue
            try:
                return await self._count(name, entry, prepared.request)
            except BackendUnavailable as error:
                refusal = error
        raise ModelUnavailable(
            "no backend of this model can count now", hint="try again in a moment"
        ) from refusal

    def _counts(self, name: str) -> bool:
        return isinstance(self._backends[name], TokenCounter)

    async def _count(self, name: str, entry: CatalogEntry, request: BackendRequest) -> TokenCount:
        backend = self._backends[name]
        assert isinstance(backend, TokenCounter)  # noqa: S101 - `_counts` has looked
        count = await backend.count_tokens(request)
        length = entry.context_length
        if length is None:
            offered = await backend.models()
            # An engine of one model answers to any name.
            named = [one for one in offered if one.id == request.model or len(offered) == 1]
            length = named[0].context_length if named else None
        return TokenCount(count, length)

    def _prepared(
        self,
        entry: CatalogEntry,
        operation: Operation,
        body: JSONBody | FormBody,
        stream: bool,
        isolation: bytes,
        headers: Fields = (),
    ) -> PreparedRequest:
        return prepare_request(
            operation,
            body,
            stream=stream,
            backend_model=entry.backend_model or entry.name,
            isolation=isolation,
            refused_fields=frozenset().union(
                *(self._backends[name].refused_fields for name in entry.backends)
            ),
            headers=headers,
        )

    async def _first_answer(self, entry: CatalogEntry, prepared: PreparedRequest) -> RoutedResponse:
        """Ask one backend after the other until one begins to answer."""
        refusal: ConfideError | None = None
        for name in entry.backends:
            if not self._health.usable(name) or not self._breakers[name].admit():
                continue
            try:
                return await self._ask(name, prepared)
            except (BackendUnavailable, ModelNotFound) as error:
                refusal = error
                event("backend-passed-over", level="warning", backend=name, error=error.code)
        if isinstance(refusal, ModelNotFound):
            raise ModelNotFound("the engine does not have this model") from refusal
        raise ModelUnavailable(
            "no backend of this model can answer now", hint="try again in a moment"
        ) from refusal

    async def _ask(self, name: str, prepared: PreparedRequest) -> RoutedResponse:
        """Ask one backend and keep its breaker up to date."""
        breaker = self._breakers[name]
        try:
            answer = await open_answer(self._backends[name], prepared, on_failure=breaker.failed)
        except BackendUnavailable as error:
            if error.busy:
                breaker.released()
            else:
                breaker.failed()
            raise
        except EnclaveError:
            breaker.succeeded()  # it answered: the request is at fault
            raise
        except BaseException:
            breaker.released()
            raise
        breaker.succeeded()
        return answer
