"""The embedded engine: llama.cpp in a child process of the enclave, on a Unix socket.

Isolation between domains: the engine keeps nothing of one request for the next. Its prompt
cache is off, by start parameter and in every request, and clients cannot turn it on. So there
is no shared state to salt, and `BackendRequest.isolation` is not needed. What reaches the engine
of a request is decided in `llamacpp_request`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field

from confide.enclave.inference.backend import (
    EVENT_STREAM,
    JSON,
    BackendRequest,
    BackendResponse,
    BackendUnavailable,
    ModelInfo,
    Operation,
    unsupported,
)
from confide.enclave.inference.backends.engine_errors import engine_refusal
from confide.enclave.inference.backends.engine_http import EngineHTTP, EngineReply
from confide.enclave.inference.backends.gguf_file import read_gguf_header
from confide.enclave.inference.backends.llamacpp_answer import (
    mended,
    named_stop,
    structured_chunks,
    write_chunks,
    write_whole,
)
from confide.enclave.inference.backends.llamacpp_process import EngineProcess, EngineSettings
from confide.enclave.inference.backends.llamacpp_request import (
    ENGINE_FIELDS,
    SAMPLING_FIELDS,
    check_single,
    forwarded_fields,
)
from confide.enclave.inference.backends.llamacpp_responses import placed_events
from confide.enclave.inference.backends.llamacpp_structured import (
    StructuredPlan,
    plan_structured,
)
from confide.enclave.inference.options import Options, parse_options
from confide.errors import ConfigError, InvalidRequest

__all__ = ["LlamaCppBackend", "LlamaCppOptions"]

#: Largest rendered prompt, in bytes; bodies are at most 32 MiB.
_MAX_PROMPT: Final = 64 * 1024 * 1024
#: A trained context longer than this is not reserved unless the settings say so.
_DEFAULT_CONTEXT: Final = 8192

_PATHS: Final = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETIONS: "/v1/completions",
    Operation.EMBEDDINGS: "/v1/embeddings",
    Operation.RESPONSES: "/v1/responses",
}


class LlamaCppOptions(Options):
    """Options of the embedded engine.

    Attributes:
        model_path: GGUF file.
        alias: Model name in answers; default the file's name without suffix.
        context_length: Tokens of prompt and answer of one request; default what the model was
            trained for, at most 8192.
        n_parallel: Requests computed at the same time; more wait.
        threads: Threads that compute; default one less than there are cores.
        gpu_layers: Layers to put on a GPU; -1 means all, and nothing without a GPU.
        embeddings: Also make embeddings. Use a model made for them.
        startup_timeout_s: Seconds to load the model.
        read_timeout_s: Seconds between two pieces of an answer. A whole answer is one piece.
        restart_wait_s: Seconds a request waits for an engine that is restarting.
    """

    model_path: Path
    alias: str | None = Field(default=None, min_length=1, max_length=128)
    context_length: int | None = Field(default=None, ge=64, le=4_194_304)
    n_parallel: int = Field(default=4, ge=1, le=256)
    threads: int | None = Field(default=None, ge=1, le=1024)
    gpu_layers: int = Field(default=-1, ge=-1)
    embeddings: bool = False
    startup_timeout_s: float = Field(default=300.0, gt=0)
    read_timeout_s: float = Field(default=900.0, gt=0)
    restart_wait_s: float = Field(default=5.0, ge=0)


class LlamaCppBackend:
    """See the module."""

    kind = "llamacpp"
    refused_fields: frozenset[str] = ENGINE_FIELDS

    def __init__(self, name: str, options: Mapping[str, object]) -> None:
        self.name = name
        self.options = parse_options(LlamaCppOptions, name, options)
        self.context_length: int | None = self.options.context_length
        self._process: EngineProcess | None = None
        self._http: EngineHTTP | None = None

    @property
    def alias(self) -> str:
        """The model's name in answers."""
        return self.options.alias or self.options.model_path.stem

    @property
    def process(self) -> EngineProcess:
        """The engine's process.

        Raises:
            BackendUnavailable: Not started.
        """
        if self._process is None:
            raise BackendUnavailable("the backend is not started")
        return self._process

    async def start(self) -> None:
        """Check the model file, then start the engine and wait until it serves.

        Raises:
            ConfigError: The library or the file is missing, or the file cannot be used.
        """
        if self._process is not None:
            return
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigError(
                f"backend {self.name!r}: xllamacpp is not installed",
                hint="pip install 'confide[llamacpp]'",
            )
        settings = await asyncio.to_thread(self._settings)
        self.context_length = settings.context_length
        process = EngineProcess(
            self.name, settings, startup_timeout_s=self.options.startup_timeout_s
        )
        await process.start()
        self._process = process
        self._http = EngineHTTP(
            "http://engine",  # a name for the Host header; the socket decides where it goes
            headers={"authorization": f"Bearer {process.api_key}"},
            socket_path=process.socket_path,
            read_timeout_s=self.options.read_timeout_s,
            # The engine drops a kept connection after a stream without telling.
            reuse=False,
        )
        await self._http.start()

    def _settings(self) -> EngineSettings:
        path = self.options.model_path.resolve()
        header = read_gguf_header(path)
        trained = header.context_length or _DEFAULT_CONTEXT
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return EngineSettings(
            model_path=str(path),
            alias=self.alias,
            context_length=self.options.context_length or min(trained, _DEFAULT_CONTEXT),
            n_parallel=self.options.n_parallel,
            threads=self.options.threads or max(1, (cores or 1) - 1),
            gpu_layers=self.options.gpu_layers,
            embeddings=self.options.embeddings,
            pooled=header.pooled,
        )

    async def stop(self) -> None:
        """End the engine."""
        http, process = self._http, self._process
        self._http = self._process = None
        if http is not None:
            await http.stop()
        if process is not None:
            await process.stop()

    async def models(self) -> list[ModelInfo]:
        """The one model."""
        operations = [Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES]
        if self.options.embeddings:
            operations.append(Operation.EMBEDDINGS)
        return [
            ModelInfo(self.alias, context_length=self.context_length, operations=tuple(operations))
        ]

    async def probe(self) -> None:
        """Check that the process lives and answers."""
        await self.process.wait_ready(0)
        status, _ = await self._client().get_json("/health")
        if status != 200:
            raise BackendUnavailable(f"the engine is not well: {status}")

    def _client(self) -> EngineHTTP:
        if self._http is None:
            raise BackendUnavailable("the backend is not started")
        return self._http

    async def open(self, request: BackendRequest) -> BackendResponse:
        """Ask the engine; see `Backend.open`."""
        if request.operation not in _PATHS:
            raise unsupported(request.operation)
        if request.operation is Operation.EMBEDDINGS and not self.options.embeddings:
            raise InvalidRequest("this model does not make embeddings", param="model")
        check_single(request)
        await self.process.wait_ready(self.options.restart_wait_s)
        fields = forwarded_fields(request)
        if request.operation is Operation.CHAT:
            plan = plan_structured(request.fields)
            if plan is not None:
                return await self._open_structured(request, fields, plan)
            if request.fields.get("tools") or request.fields.get("stop"):
                return await self._open_mended(request, fields)
        reply = await self._post(_PATHS[request.operation], fields, request)
        pieces = reply.pieces()
        if request.operation is Operation.RESPONSES and request.stream:
            pieces = placed_events(pieces)
        return BackendResponse(200, reply.content_type, pieces, reply.aclose)

    async def _post(
        self, path: str, fields: Mapping[str, object], request: BackendRequest
    ) -> EngineReply:
        """Send one request; a refusal becomes an error of ours."""
        body = json.dumps(fields, separators=(",", ":")).encode()
        reply = await self._client().send("POST", path, body)
        if reply.status != 200:
            raise engine_refusal(reply.status, await reply.read_json(), request.fields)
        return reply

    async def _open_mended(
        self, request: BackendRequest, fields: Mapping[str, object]
    ) -> BackendResponse:
        """A chat that may call tools or has stop strings, always streamed from the engine.

        Its whole answers are an error when the output does not parse; its streams have
        delivered the output by then.
        """
        asked = {**_streamed(fields), "verbose": bool(request.fields.get("stop"))}
        reply = await self._post(_PATHS[Operation.CHAT], asked, request)
        chunks = named_stop(mended(reply.pieces()))
        if request.stream:
            return BackendResponse(200, EVENT_STREAM, write_chunks(chunks), reply.aclose)
        return BackendResponse(200, JSON, write_whole(chunks), reply.aclose)

    async def _open_structured(
        self, request: BackendRequest, fields: Mapping[str, object], plan: StructuredPlan
    ) -> BackendResponse:
        """A chat whose answer has a given shape; see `llamacpp_structured`."""
        prompt = await self._render(request, fields, plan)
        completion = {name: fields[name] for name in SAMPLING_FIELDS & fields.keys()}
        completion |= {"prompt": prompt, "json_schema": plan.schema, "cache_prompt": False}
        if completion.pop("logprobs", False) is True and not plan.calls_tool:
            completion["logprobs"] = request.fields.get("top_logprobs") or 1
        reply = await self._post(_PATHS[Operation.COMPLETIONS], _streamed(completion), request)
        chunks = structured_chunks(reply.pieces(), plan)
        if request.stream:
            return BackendResponse(200, EVENT_STREAM, write_chunks(chunks), reply.aclose)
        return BackendResponse(200, JSON, write_whole(chunks), reply.aclose)

    async def count_tokens(self, request: BackendRequest) -> int:
        """Apply the model's template and count with its tokenizer; see `TokenCounter`."""
        await self.process.wait_ready(self.options.restart_wait_s)
        names = ("messages", "tools", "chat_template_kwargs")
        template = {name: request.fields[name] for name in names if name in request.fields}
        asked = {
            "content": await self._apply_template(template, request),
            "add_special": True,
            "parse_special": True,
        }
        answer = await (await self._post("/tokenize", asked, request)).read_json(_MAX_PROMPT)
        tokens = answer.get("tokens") if isinstance(answer, Mapping) else None
        if not isinstance(tokens, list):
            raise BackendUnavailable("the engine did not count the prompt")
        return len(tokens)

    async def _render(
        self, request: BackendRequest, fields: Mapping[str, object], plan: StructuredPlan
    ) -> str:
        """Apply the model's chat template for an answer of a given shape."""
        given = fields.get("chat_template_kwargs")
        arguments = dict(given) if isinstance(given, Mapping) else {}
        # The grammar leaves no room to think first.
        template = {
            "messages": fields.get("messages"),
            "chat_template_kwargs": {**arguments, "enable_thinking": False},
        }
        if plan.calls_tool:
            template["tools"] = list(plan.tools)
        prompt = await self._apply_template(template, request)
        # Where the template teaches this marker, the model has learned what comes after it.
        marked = plan.calls_tool and "<tool_call>" in prompt
        return prompt + "<tool_call>\n" if marked else prompt

    async def _apply_template(self, fields: Mapping[str, object], request: BackendRequest) -> str:
        reply = await self._post("/apply-template", fields, request)
        answer = await reply.read_json(_MAX_PROMPT)
        prompt = answer.get("prompt") if isinstance(answer, Mapping) else None
        if not isinstance(prompt, str):
            raise BackendUnavailable("the engine did not render the prompt")
        return prompt


def _streamed(fields: Mapping[str, object]) -> dict[str, object]:
    return {**fields, "stream": True, "stream_options": {"include_usage": True}}
