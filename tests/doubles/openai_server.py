"""Double of a server that speaks the OpenAI API, with the quirks and faults of real ones.

The shapes are those recorded from vLLM 0.32.0: errors with class names as types, a 401 whose
error is a string, `usage` only on request, extra null fields in chunks.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict
from tests.doubles.serving import serving

TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 2048 tokens. However, your prompt "
        "contains at least 2049 input tokens, which exceeds this limit even without any output "
        "tokens. Please reduce the length of the input prompt. (parameter=input_tokens, "
        "value=2049)",
        "type": "BadRequestError",
        "param": "input_tokens",
        "code": 400,
    }
}
NO_MODEL = {
    "error": {
        "message": "The model `nope` does not exist. Valid aliases: tiny-vllm.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
}
UNAUTHORIZED = {"error": "Unauthorized"}
NO_IMAGES = {
    "error": {
        "message": "image input is not supported - hint: if this is unexpected, you may need to "
        "provide the mmproj",
        "type": "server_error",
        "code": 500,
    }
}


@dataclass
class OpenAIDouble:
    """What the server does, and what it saw.

    Attributes:
        words: Tokens of every answer.
        token_delay_s: Pause before each token.
        api_key: Wanted as a bearer, if set.
        answer: Answer every request with this (status, body, content type, headers) instead.
        die_after: Cut the connection after so many tokens.
        omit_done: End streams without `[DONE]`.
        omit_usage: Never report usage.
        null_usage: Put `"usage": null` into chunks when usage is asked for, as OpenAI does.
        extra_event: Sent after the first token.
        bodies: Bodies received, in order.
        headers: Headers received, in order.
        raw_headers: The same as bytes, repeated ones included.
        told: Headers of its answers.
        running: Generations under way.
        cancelled: Generations whose client left.
        cut: Set when a client left.
    """

    words: tuple[str, ...] = ("one", " two", " three")
    token_delay_s: float = 0.0
    api_key: str | None = None
    answer: tuple[int, object, str, dict[str, str]] | None = None
    die_after: int | None = None
    omit_done: bool = False
    omit_usage: bool = False
    null_usage: bool = False
    extra_event: bytes = b""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw_headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    running: int = 0
    cancelled: int = 0

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Yield the base URL, with /v1."""
        with serving(self.application()) as url:
            yield url + "/v1"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.raw_headers.append([(name.lower(), value) for name, value in request.raw_headers])
        self.bodies.append(body)
        if self.answer is not None:
            status, content, content_type, headers = self.answer
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            return web.Response(
                status=status, body=raw, headers={**headers, "content-type": content_type}
            )
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return web.json_response(UNAUTHORIZED, status=401)
        if request.path == "/v1/models":
            entry = {"id": "tiny-vllm", "object": "model", "owned_by": "vllm"}
            entry["max_model_len"] = 2048
            return web.json_response({"object": "list", "data": [entry]})
        if request.path == "/v1/embeddings":
            return web.json_response(
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}],
                    "model": "tiny-vllm",
                    "usage": {"prompt_tokens": 4, "total_tokens": 4},
                }
            )
        self.running += 1
        try:
            return await self.generate(request, json.loads(body))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def generate(self, request: web.Request, fields: dict) -> web.StreamResponse:
        chat = request.path.endswith("/chat/completions")
        if fields.get("stream"):
            return await self.stream(request, fields, chat)
        for _ in self.words:
            await asyncio.sleep(self.token_delay_s)
        text = "".join(self.words)
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "stop_reason": None}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion" if chat else "text_completion",
            "created": 1795214088,
            "model": "tiny-vllm",
            "choices": [choice],
        }
        if not self.omit_usage:
            answer["usage"] = self.usage()
        return web.json_response(answer, headers=CIMultiDict(self.told))

    def usage(self) -> dict:
        return {"prompt_tokens": 7, "total_tokens": 7 + len(self.words),
                "completion_tokens": len(self.words), "prompt_tokens_details": None}  # fmt: skip

    async def stream(self, request: web.Request, fields: dict, chat: bool) -> web.StreamResponse:
        kind = ("content-type", "text/event-stream; charset=utf-8")
        response = web.StreamResponse(headers=CIMultiDict([kind, *self.told]))
        await response.prepare(request)
        options = fields.get("stream_options") or {}
        wanted = bool(options.get("include_usage")) and not self.omit_usage
        if chat:
            await self.event(response, {"role": "assistant", "content": ""}, None, chat, wanted)
        for number, word in enumerate(self.words):
            await asyncio.sleep(self.token_delay_s)
            if self.die_after is not None and number >= self.die_after:
                request.transport.abort()
                return response
            await self.event(response, {"content": word}, None, chat, wanted)
            if number == 0 and self.extra_event:
                await response.write(self.extra_event)
        await self.event(response, {}, "stop", chat, wanted)
        if wanted:
            chunk = {"id": "chatcmpl-1", "choices": [], "usage": self.usage()}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        if not self.omit_done:
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def event(self, response, delta, reason, chat, wanted) -> None:
        choice = {"index": 0, "logprobs": None, "finish_reason": reason}
        choice |= {"delta": delta} if chat else {"text": delta.get("content", "")}
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": 1795214103,
            "model": "tiny-vllm",
            "choices": [choice],
        }
        if wanted and self.null_usage:
            chunk["usage"] = None
        raw = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
        await response.write(b"data: " + raw.encode() + b"\n\n")


@contextmanager
def html_server(status: int = 200) -> Iterator[str]:
    """A web page where an engine should be; yields the URL without /v1."""
    page = b"<html><body>It works! internal-secret-path</body></html>"
    double = OpenAIDouble(answer=(status, page, "text/html", {}))
    with serving(double.application()) as url:
        yield url
