"""A small SDK of our own: chat, embeddings, models, and who was verified.

    with Client("https://gateway.example.org", policy=policy, api_key=key) as client:
        print(client.chat("Why is the sky blue?"))
        for text in client.chat("Tell me more", stream=True):
            print(text, end="")

For everything else use the OpenAI SDK over `EncryptedTransport`. Answers of the enclave
that are errors are raised as `EnclaveError`, refusals of the gateway as `GatewayError`.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias, overload

import httpx2

from confide.client.messages import AUTHORITY
from confide.client.transport import AsyncEncryptedTransport, EncryptedTransport
from confide.dialects.sse import EventParser
from confide.errors import (
    AuthenticationError,
    ContextTooLong,
    EnclaveError,
    GatewayError,
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    ModelUnavailable,
    NoEnclaveAvailable,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
)

if TYPE_CHECKING:
    from confide.attest.policy import AppraisalPolicy
    from confide.attest.results import EnclaveVerifier, Verdict

__all__ = ["AsyncClient", "Client"]

Messages: TypeAlias = str | Sequence[Mapping[str, object]]

_TIMEOUT = httpx2.Timeout(600.0, connect=5.0)
_ENCLAVE_ERRORS: dict[str, type[EnclaveError]] = {
    "context_length_exceeded": ContextTooLong,
    "model_not_found": ModelNotFound,
    "model_not_allowed": ModelNotAllowed,
    "model_unavailable": ModelUnavailable,
}
_GATEWAY_ERRORS: dict[int, type[GatewayError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    413: RequestTooLarge,
    503: NoEnclaveAvailable,
}


def _chat_body(prompt: Messages, model: str, stream: bool, options: Mapping[str, object]) -> bytes:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    body = {"model": model, "messages": messages, "stream": stream, **options}
    return json.dumps(body).encode()


def _raise_for(response: httpx2.Response) -> None:
    """Raise what a complete answer says went wrong, if anything."""
    if response.status_code < 400:
        return
    try:
        error = response.json()["error"]
        message, code, param = str(error["message"]), str(error["code"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        message, code, param = f"the answer has status {response.status_code}", "error", None
    if response.headers.get("x-confide-origin") == "enclave":
        _raise_enclave(message, code, param, response.status_code)
    _raise_gateway(message, code, response)


def _raise_enclave(message: str, code: str, param: object, status: int) -> NoReturn:
    usual = InvalidRequest if 400 <= status < 500 else EnclaveError
    kind = _ENCLAVE_ERRORS.get(code, usual)
    if issubclass(kind, InvalidRequest):
        raise kind(message, param=str(param) if param else None, status=status)
    raise kind(message, status=status)


def _raise_gateway(message: str, code: str, response: httpx2.Response) -> NoReturn:
    status = response.status_code
    request_id = response.headers.get("confide-request-id")
    if status == 429:
        wait = float(response.headers.get("retry-after", "1"))
        raise RateLimited(message, retry_after=wait, request_id=request_id)
    kind = _GATEWAY_ERRORS.get(status, GatewayError)
    slug = code.replace("_", "-")
    raise kind(message, status=status, request_id=request_id, code=slug)


def _text(completion: Any) -> str:
    return completion["choices"][0]["message"].get("content") or ""


def _deltas(parser: EventParser, content: bytes) -> Iterator[str]:
    """Text of the events that these bytes complete."""
    for event in parser.feed(content):
        if event.data == "[DONE]":
            continue
        chunk = json.loads(event.data)
        if chunk.get("error"):
            raise EnclaveError(str(chunk["error"].get("message", "")))
        for choice in chunk.get("choices", ()):
            if text := choice.get("delta", {}).get("content"):
                yield text


def _vectors(answer: Any) -> list[list[float]]:
    ordered = sorted(answer["data"], key=lambda item: item["index"])
    return [item["embedding"] for item in ordered]


class Client:
    """Chat and embeddings through the seal. Safe to share between threads.

    Args:
        gateway: Base URL of the gateway.
        policy: What evidence is accepted. Exactly one of policy and verifier.
        api_key: Credential for the gateway.
        verifier: Decides about evidence instead of a policy.
        transport: Connects to the gateway. Default: httpx2's own.
        clock: Unix seconds.
    """

    def __init__(
        self,
        gateway: str,
        policy: AppraisalPolicy | None = None,
        *,
        api_key: str,
        verifier: EnclaveVerifier | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the SDK's user may pass another
    ) -> None:
        self.transport = EncryptedTransport(
            gateway, policy, api_key=api_key, verifier=verifier, transport=transport, clock=clock
        )
        self._http = httpx2.Client(
            transport=self.transport,
            base_url=f"https://{AUTHORITY}/v1/",
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @overload
    def chat(
        self, prompt: Messages, *, model: str, stream: Literal[False] = False, **options: object
    ) -> str: ...

    @overload
    def chat(
        self, prompt: Messages, *, model: str, stream: Literal[True], **options: object
    ) -> Iterator[str]: ...

    def chat(
        self, prompt: Messages, *, model: str, stream: bool = False, **options: object
    ) -> str | Iterator[str]:
        """Ask a chat model.

        Args:
            prompt: One question, or messages in OpenAI's shape.
            model: A name from `models`.
            stream: Return pieces of text as they are made.
            options: Further fields of the request, untouched.

        Returns:
            The text of the answer, or an iterator over its pieces. The iterator raises
            `StreamTruncated` if the answer is cut off.

        Raises:
            ConfideError: See `confide.errors`.
        """
        body = _chat_body(prompt, model, stream, options)
        if stream:
            return self._streamed(body)
        return _text(self._ask("POST", "chat/completions", body))

    def embeddings(self, texts: Sequence[str], *, model: str) -> list[list[float]]:
        """Turn texts into vectors, in the order given."""
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        return _vectors(self._ask("POST", "embeddings", json.dumps(body).encode()))

    def models(self) -> list[str]:
        """Names of the models this key may use."""
        return [model["id"] for model in self._ask("GET", "models")["data"]]

    def verify(self) -> tuple[Verdict, ...]:
        """Verify every replica now and return the verdicts; nothing else is sent."""
        return self.transport.verify()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        response = self._http.request(method, path, content=body)
        _raise_for(response)
        return response.json()

    def _streamed(self, body: bytes) -> Iterator[str]:
        parser = EventParser()
        with self._http.stream("POST", "chat/completions", content=body) as response:
            if response.status_code >= 400:
                response.read()
                _raise_for(response)
            for content in response.iter_bytes():
                yield from _deltas(parser, content)


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self,
        gateway: str,
        policy: AppraisalPolicy | None = None,
        *,
        api_key: str,
        verifier: EnclaveVerifier | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the SDK's user may pass another
    ) -> None:
        self.transport = AsyncEncryptedTransport(
            gateway, policy, api_key=api_key, verifier=verifier, transport=transport, clock=clock
        )
        self._http = httpx2.AsyncClient(
            transport=self.transport,
            base_url=f"https://{AUTHORITY}/v1/",
            headers={"content-type": "application/json"},
            timeout=_TIMEOUT,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def chat(self, prompt: Messages, *, model: str, **options: object) -> str:
        """Ask a chat model; see `Client.chat`."""
        body = _chat_body(prompt, model, False, options)
        return _text(await self._ask("POST", "chat/completions", body))

    async def chat_stream(
        self, prompt: Messages, *, model: str, **options: object
    ) -> AsyncIterator[str]:
        """Ask a chat model and yield pieces of text as they are made; see `Client.chat`."""
        parser = EventParser()
        body = _chat_body(prompt, model, True, options)
        async with self._http.stream("POST", "chat/completions", content=body) as response:
            if response.status_code >= 400:
                await response.aread()
                _raise_for(response)
            async for content in response.aiter_bytes():
                for text in _deltas(parser, content):
                    yield text

    async def embeddings(self, texts: Sequence[str], *, model: str) -> list[list[float]]:
        """Turn texts into vectors, in the order given."""
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        return _vectors(await self._ask("POST", "embeddings", json.dumps(body).encode()))

    async def models(self) -> list[str]:
        """Names of the models this key may use."""
        return [model["id"] for model in (await self._ask("GET", "models"))["data"]]

    async def verify(self) -> tuple[Verdict, ...]:
        """Verify every replica now and return the verdicts; nothing else is sent."""
        return await self.transport.verify()

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        response = await self._http.request(method, path, content=body)
        _raise_for(response)
        return response.json()
