"""Double of an Ollama server, built from ollama/api/types.go and server/routes.go (August 2026).

It keeps the quirks a client must survive: streams by default, NDJSON, durations in
nanoseconds, tool arguments as objects, ids optional, errors as {"error": "text"}, and errors
in the middle of a stream after HTTP 200. Checked with the `ollama` client of PyPI.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from tests.doubles.serving import serving

CREATED = "2026-08-01T10:00:00.000000000Z"
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.9M",
    "quantization_level": "Q8_0",
}


def entry(name: str, **further: object) -> dict:
    return {
        "name": name,
        "model": name,
        "modified_at": CREATED,
        "size": 4250592,
        "digest": "0" * 64,
        "details": DETAILS,
        "capabilities": ["completion", "tools"],
        **further,
    }


@dataclass
class OllamaDouble:
    """What the server does, and what it saw.

    Attributes:
        models: Entries of /api/tags.
        cloud_disabled: What /api/status says; None if this version has no such route.
        words: Tokens of every answer.
        thinking: Reasoning before the answer.
        calls: Tool calls instead of text, as (name, arguments).
        done_reason: At the end.
        fail_after: Send an error line after so many tokens.
        error_is_last: Say in the error line that it is the last.
        omit_done: End the stream without a last line.
        refusal: Answer requests with this (status, text).
        token_delay_s: Pause before each token.
        bodies: Parsed bodies received, in order.
        cancelled: Generations whose client left.
    """

    models: list[dict] = field(default_factory=lambda: [entry("tiny:latest")])
    cloud_disabled: bool | None = True
    words: tuple[str, ...] = ("one", " two", " three")
    thinking: str = ""
    calls: tuple[tuple[str, dict], ...] = ()
    done_reason: str = "stop"
    fail_after: int | None = None
    error_is_last: bool = False
    omit_done: bool = False
    refusal: tuple[int, str] | None = None
    token_delay_s: float = 0.0
    bodies: list[dict] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    cancelled: int = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self.root)
        app.router.add_get("/api/version", self.version)
        app.router.add_get("/api/tags", self.tags)
        app.router.add_get("/api/status", self.status)
        app.router.add_get("/api/ps", self.running)
        app.router.add_post("/api/show", self.show)
        app.router.add_post("/api/chat", self.generate)
        app.router.add_post("/api/generate", self.generate)
        app.router.add_post("/api/embed", self.embed)
        return app

    @contextmanager
    def serve(self) -> Iterator[str]:
        with serving(self.application()) as url:
            yield url

    async def root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.31.1"})

    async def tags(self, request: web.Request) -> web.Response:
        return web.json_response({"models": self.models})

    async def running(self, request: web.Request) -> web.Response:
        return web.json_response({"models": []})

    async def status(self, request: web.Request) -> web.Response:
        if self.cloud_disabled is None:
            return web.Response(status=404, text="404 page not found")
        return web.json_response({"cloud": {"disabled": self.cloud_disabled, "source": "env"}})

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "modelfile": "",
                "template": "",
                "details": DETAILS,
                "model_info": {"general.architecture": "llama", "llama.context_length": 1024},
                "capabilities": ["completion", "tools"],
            }
        )

    async def read(self, request: web.Request) -> tuple[dict, web.Response | None]:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.paths.append(request.path)
        if self.refusal is not None:
            status, message = self.refusal
            return body, web.json_response({"error": message}, status=status)
        names = {model["name"] for model in self.models}
        if names.isdisjoint({body["model"], f"{body['model']}:latest"}):
            message = f"model '{body['model']}' not found"
            return body, web.json_response({"error": message}, status=404)
        return body, None

    async def embed(self, request: web.Request) -> web.Response:
        body, refused = await self.read(request)
        if refused is not None:
            return refused
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        return web.json_response(
            {
                "model": body["model"],
                "embeddings": [[0.25, -0.5, float(len(text))] for text in texts],
                "total_duration": 14143917,
                "load_duration": 1019500,
                "prompt_eval_count": 8,
            }
        )

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body, refused = await self.read(request)
        if refused is not None:
            return refused
        chat = request.path == "/api/chat"
        lines = self.lines(body["model"], chat)
        if body.get("stream", True) is False:
            return web.json_response(self.joined([line async for line in lines], chat))
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            async for line in lines:
                await response.write(json.dumps(line).encode() + b"\n")
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await response.write_eof()
        return response

    def part(self, model: str, chat: bool, text: str, **further: object) -> dict:
        line = {"model": model, "created_at": CREATED}
        if chat:
            return {**line, "message": {"role": "assistant", "content": text, **further}}
        return {**line, "response": text}

    async def lines(self, model: str, chat: bool):
        if self.thinking:
            yield {**self.part(model, chat, "", thinking=self.thinking), "done": False}
        for number, word in enumerate(self.words if not self.calls else ()):
            await asyncio.sleep(self.token_delay_s)
            if self.fail_after is not None and number >= self.fail_after:
                message = "an error was encountered while running the model: MARKER"
                yield {"error": message, **({"done": True} if self.error_is_last else {})}
                return
            yield {**self.part(model, chat, word), "done": False}
        for number, (name, arguments) in enumerate(self.calls):
            call = {"function": {"index": number, "name": name, "arguments": arguments}}
            yield {**self.part(model, chat, "", tool_calls=[call]), "done": False}
        if self.omit_done:
            return
        yield {
            **self.part(model, chat, ""),
            "done": True,
            "done_reason": self.done_reason,
            "total_duration": 4883583458,
            "load_duration": 1334875,
            "prompt_eval_count": 26,
            "prompt_eval_duration": 342546000,
            "eval_count": len(self.words),
            "eval_duration": 4535599000,
        }

    def joined(self, lines: list[dict], chat: bool) -> dict:
        last = lines[-1]
        if not chat:
            return {**last, "response": "".join(line["response"] for line in lines)}
        text = "".join(line["message"]["content"] for line in lines)
        calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
        message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
        return {**last, "message": message}
