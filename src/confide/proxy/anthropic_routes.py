"""Anthropic's routes: translated here, once; what leaves is a sealed OpenAI request.

A streamed message begins when the enclave does. If that takes longer than a ping interval,
the answer's head is sent before it, followed by pings, so that clients and anything between
them and us see a live connection; what goes wrong then is an `error` event.

`max_tokens` is an upper bound for Anthropic's clients, and some ask for more than a model's
context holds. An engine that refuses such a request is asked again once, with what fits.
"""

from __future__ import annotations

import json
import re
import secrets
from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urlencode

import httpx2
from starlette.types import Scope, Send

from confide.client.transport import AsyncEncryptedTransport
from confide.dialects.anthropic import (
    ChatRequest,
    MessageStream,
    count_answer,
    count_request,
    translate_answer,
    translate_error,
    translate_model,
    translate_models,
    translate_request,
)
from confide.dialects.error_bodies import ErrorAnswer
from confide.errors import ConfideError, InvalidRequest
from confide.proxy.answers import (
    Dialect,
    error_answer,
    identified,
    send_answer,
    send_body,
)
from confide.proxy.anthropic_events import (
    PING_EVERY_S,
    Events,
    RefusedError,
    identity_of,
    request_id_of,
)
from confide.proxy.endpoint import (
    DEFAULT_BODY_LIMIT,
    INNER,
    Ending,
    SealedEndpoint,
    goes_on,
    pieces_of,
)

__all__ = ["PING_EVERY_S", "CountTokensRoute", "MessagesRoute", "ModelsRoute"]

_VERSION: Final = re.compile(rb"20[0-9]{2}-[01][0-9]-[0-3][0-9]")
_FIRST_VERSION: Final = b"2023-01-01"
_CHAT: Final = "/v1/chat/completions"
_TOKENIZE: Final = "/v1/tokenize"
_JSON: Final = (b"content-type", b"application/json")
_OURS: Final = frozenset({b"content-type", b"accept", b"authorization", b"anthropic-version"})


class _AnthropicEndpoint(SealedEndpoint):
    """What Anthropic's routes share: credentials, versions, error shape, request ids."""

    dialect: ClassVar[Dialect] = "anthropic"
    name: ClassVar[str]

    def route_name(self, scope: Scope) -> str:  # noqa: ARG002 - one name per class
        """See `SealedEndpoint.route_name`."""
        return self.name

    async def relay(self, scope: Scope, body: bytes, send: Send) -> Ending:
        """Answer one request; whatever is refused before the head gets Anthropic's shape."""
        try:
            _check_version(scope["headers"])
            return await self.answer(scope, body, send)
        except RefusedError as refusal:
            return await _send_refusal(send, refusal.answer, refusal.code)
        except ConfideError as error:
            return await _send_refusal(send, error_answer(error, self.dialect), error.code)

    @abstractmethod
    async def answer(self, scope: Scope, body: bytes, send: Send) -> Ending:
        """Answer one request.

        Raises:
            ConfideError: Nothing was sent to the caller yet.
            RefusedError: The same, and the refusal came from the enclave or the gateway.
        """

    async def ask(self, scope: Scope, method: str, path: str, body: bytes = b"") -> httpx2.Response:
        """Send one request sealed and return its answer, which is no error.

        Raises:
            ConfideError: It could not be sent, or its answer could not be read.
            RefusedError: It was answered with an error.
        """
        headers = _outer_headers(scope["headers"])
        request = httpx2.Request(method, INNER + path, headers=headers, content=body)
        response = await self._transport.handle_async_request(request)
        if response.status_code == 200:
            return response
        content = await _whole(response)
        told = tuple(response.headers.items())
        raise RefusedError(translate_error(response.status_code, content, told))

    async def ask_whole(
        self, scope: Scope, method: str, path: str, body: bytes = b""
    ) -> tuple[httpx2.Response, bytes]:
        """The same for an answer that does not stream, with its body."""
        response = await self.ask(scope, method, path, body)
        return response, await _whole(response)


class MessagesRoute(_AnthropicEndpoint):
    """`POST /v1/messages`, streamed or not.

    Args:
        transport: Seals and sends.
        body_limit: Bytes of request body accepted.
        ping_every_s: Seconds of silence after which a stream's caller gets a ping.
    """

    name = "messages"

    def __init__(
        self,
        transport: AsyncEncryptedTransport,
        *,
        body_limit: int = DEFAULT_BODY_LIMIT,
        ping_every_s: float = PING_EVERY_S,
    ) -> None:
        super().__init__(transport, body_limit=body_limit)
        self._ping_every_s = ping_every_s

    async def answer(self, scope: Scope, body: bytes, send: Send) -> Ending:
        """See `_AnthropicEndpoint.answer`."""
        request = translate_request(body)
        message_id = f"msg_{secrets.token_hex(12)}"
        if request.stream:
            stream = Events(send, MessageStream(request, message_id), self._ping_every_s)
            return await stream.send_all(lambda: self._ask_for_message(scope, request))
        response = await self._ask_for_message(scope, request)
        content = translate_answer(await _whole(response), request, message_id)
        return await _send_whole(send, response, content)

    async def _ask_for_message(self, scope: Scope, request: ChatRequest) -> httpx2.Response:
        try:
            return await self.ask(scope, "POST", _CHAT, request.body)
        except RefusedError as refusal:
            if refusal.code != "context_length_exceeded":
                raise
            smaller = await self._fitting(scope, request)
            if smaller is None:
                raise
        return await self.ask(scope, "POST", _CHAT, smaller.body)

    async def _fitting(self, scope: Scope, request: ChatRequest) -> ChatRequest | None:
        """The request with as many tokens as fit after its prompt; None if none do."""
        fields = json.loads(request.body)
        counted = {name: fields[name] for name in ("model", "messages", "tools") if name in fields}
        try:
            _, content = await self.ask_whole(
                scope, "POST", _TOKENIZE, json.dumps(counted).encode()
            )
            answer = json.loads(content)
            room = answer["context_length"] - answer["input_tokens"]
        except (RefusedError, ConfideError, ValueError, KeyError, TypeError):
            return None  # the engine's own refusal says more
        return request.limited_to(room) if 0 < room < fields["max_tokens"] else None


class CountTokensRoute(_AnthropicEndpoint):
    """`POST /v1/messages/count_tokens`: the model's own template and tokenizer count."""

    name = "count_tokens"

    async def answer(self, scope: Scope, body: bytes, send: Send) -> Ending:
        """See `_AnthropicEndpoint.answer`."""
        response, content = await self.ask_whole(scope, "POST", _TOKENIZE, count_request(body))
        return await _send_whole(send, response, count_answer(content))


class ModelsRoute(_AnthropicEndpoint):
    """`GET /v1/models` and `GET /v1/models/{id}`."""

    name = "models"

    async def answer(self, scope: Scope, body: bytes, send: Send) -> Ending:  # noqa: ARG002
        """See `_AnthropicEndpoint.answer`."""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        # Pages are cut here; of which type the models are, the enclave knows.
        wanted = urlencode([one for one in parse_qsl(query, True) if one[0] == "type"])
        asked = f"{path}?{wanted}" if wanted else path
        response, content = await self.ask_whole(scope, "GET", asked)
        if path.rstrip("/").endswith("/v1/models"):
            return await _send_whole(send, response, translate_models(content, query))
        return await _send_whole(send, response, translate_model(content))


def _check_version(headers: Iterable[tuple[bytes, bytes]]) -> None:
    # One that is missing is no reason to refuse. Versions are dates, and clients send new ones
    # before anybody here has read about them; what is translated did not change with them.
    version = next((value for name, value in headers if name == b"anthropic-version"), None)
    if version is None:
        return
    if not _VERSION.fullmatch(version) or version < _FIRST_VERSION:
        raise InvalidRequest(
            "anthropic-version: this is not a version of the API, such as 2023-06-01",
            param="anthropic-version",
        )


def _outer_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that go on; `x-api-key` becomes the bearer credential.

    The body is ours, so what says its kind and its API's version ends here, and what we can read
    is ours to say.
    """
    headers = tuple(headers)
    given = dict(headers)
    kept = [_JSON, *((n, v) for n, v in headers if n not in _OURS and goes_on(n))]
    if given.get(b"x-api-key"):
        kept.append((b"authorization", b"Bearer " + given[b"x-api-key"]))
    elif b"authorization" in given:
        kept.append((b"authorization", given[b"authorization"]))
    return kept


async def _whole(response: httpx2.Response) -> bytes:
    try:
        return b"".join([piece async for piece in pieces_of(response)])
    finally:
        await response.aclose()


async def _send_whole(send: Send, response: httpx2.Response, content: bytes) -> Ending:
    await send_body(send, 200, [_JSON, *identity_of(response)], content)
    return Ending("complete", 200, None, request_id_of(response))


async def _send_refusal(send: Send, answer: ErrorAnswer, code: str) -> Ending:
    await send_answer(send, identified(answer))
    return Ending("failed", answer.status, code)
