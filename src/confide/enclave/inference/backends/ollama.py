"""Ollama on this machine, through its native API.

Prompts must not leave the machine through Ollama's back door: a model may be a name for one
that runs at ollama.com. So a model that is remote, or named as one, is refused, and as soon as
the server can tell whether its cloud features are off (`/api/status`), they must be, or the
backend is not used: set OLLAMA_NO_CLOUD=1.

Ollama has one prompt cache for all requests and no salt for it. Domains that share an Ollama
can measure each other's prompts by time; docs/security says so. Where that matters, use the
embedded engine or vLLM.

Source: ollama/api/types.go and server/routes.go of August 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from confide.enclave.inference.backends.engine_http import EngineHTTP, check_base_url
from confide.enclave.inference.backends.ollama_answer import OllamaAnswer, embeddings_answer
from confide.enclave.inference.backends.ollama_translate import native_request
from confide.enclave.inference.options import Options, parse_options
from confide.errors import ModelNotFound

__all__ = ["OllamaBackend", "OllamaOptions"]

_PATHS: Final = {
    Operation.CHAT: "/api/chat",
    Operation.COMPLETIONS: "/api/generate",
    Operation.EMBEDDINGS: "/api/embed",
}
#: Ollama's own fields, which would pass the translation by.
ENGINE_FIELDS: Final = frozenset(
    {"options", "keep_alive", "template", "system", "context", "raw", "format", "truncate", "shift"}
)


class OllamaOptions(Options):
    """Options of the Ollama backend.

    Attributes:
        base_url: Of the server.
        trusted_hosts: Hosts beyond loopback and private addresses that may see prompts.
        connect_timeout_s: Seconds to connect.
        read_timeout_s: Seconds between two pieces of an answer; loading a model is one.
    """

    base_url: str = "http://127.0.0.1:11434"
    trusted_hosts: tuple[str, ...] = ()
    connect_timeout_s: float = Field(default=5.0, gt=0)
    read_timeout_s: float = Field(default=300.0, gt=0)


class OllamaBackend:
    """See the module."""

    kind = "ollama"
    refused_fields: frozenset[str] = ENGINE_FIELDS

    def __init__(self, name: str, options: Mapping[str, object]) -> None:
        self.name = name
        self.options = parse_options(OllamaOptions, name, options)
        self._base_url = check_base_url(name, self.options.base_url, self.options.trusted_hosts)
        self._http: EngineHTTP | None = None
        # Names of the local models at the last probe; None until one succeeded.
        self._local: frozenset[str] | None = None

    async def start(self) -> None:
        """Make the connection pool; the server may still be down."""
        self._http = EngineHTTP(
            self._base_url,
            connect_timeout_s=self.options.connect_timeout_s,
            read_timeout_s=self.options.read_timeout_s,
        )
        await self._http.start()

    async def stop(self) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.stop()
            self._http = None

    def _client(self) -> EngineHTTP:
        if self._http is None:
            raise BackendUnavailable("the backend is not started")
        return self._http

    async def models(self) -> list[ModelInfo]:
        """The models that run here."""
        status, answer = await self._client().get_json("/api/tags")
        entries = answer.get("models") if isinstance(answer, Mapping) else None
        if status != 200 or not isinstance(entries, list):
            raise BackendUnavailable(f"Ollama does not list its models: {status}")
        return [ModelInfo(str(entry["name"])) for entry in entries if _is_local(entry)]

    async def probe(self) -> None:
        """Check that the server answers and that its cloud features are off."""
        self._local = None  # until proven again
        await self._check_cloud()
        self._local = frozenset(model.id for model in await self.models())

    async def _check_cloud(self) -> None:
        status, answer = await self._client().get_json("/api/status")
        if status in (404, 405):
            return  # a version from before there was a cloud to switch off
        cloud = answer.get("cloud") if isinstance(answer, Mapping) else None
        if status != 200 or not isinstance(cloud, Mapping) or cloud.get("disabled") is not True:
            raise BackendUnavailable(
                "Ollama's cloud features are on; prompts could leave this machine",
                hint="start Ollama with OLLAMA_NO_CLOUD=1",
            )

    def _check_model(self, model: str) -> None:
        """Refuse what is not known to run here.

        Raises:
            BackendUnavailable: No probe has succeeded yet.
            ModelNotFound: Not among the local models.
        """
        if self._local is None:
            raise BackendUnavailable("it is not known yet whether this Ollama keeps prompts local")
        names = {model, model if ":" in model else f"{model}:latest"}
        if names.isdisjoint(self._local):
            raise ModelNotFound("the engine does not have this model")

    async def open(self, request: BackendRequest) -> BackendResponse:
        """Translate and ask; see `Backend.open`."""
        if request.operation not in _PATHS:
            raise unsupported(request.operation)
        self._check_model(request.model)
        body = json.dumps(native_request(request), separators=(",", ":")).encode()
        reply = await self._client().send("POST", _PATHS[request.operation], body)
        if reply.status != 200:
            raise engine_refusal(reply.status, await reply.read_json(), request.fields)
        if reply.content_type not in ("application/json", "application/x-ndjson"):
            reply.close()
            raise BackendUnavailable("the engine answered with another media type")
        if request.operation is Operation.EMBEDDINGS:
            return BackendResponse(200, JSON, embeddings_answer(request, reply), reply.aclose)
        answer = OllamaAnswer(request, reply)
        if request.stream:
            return BackendResponse(200, EVENT_STREAM, answer.events(), reply.aclose)
        return BackendResponse(200, JSON, answer.whole(), reply.aclose)


def _is_local(entry: object) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        return False
    if entry.get("remote_host") or entry.get("remote_model"):
        return False
    return not entry["name"].casefold().endswith((":cloud", "-cloud"))
