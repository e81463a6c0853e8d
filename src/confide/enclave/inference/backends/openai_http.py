"""vLLM and any other server that speaks the OpenAI API, inside the enclave's boundary.

The client's body is passed on byte for byte, and with it those of its headers that may travel
(`confide.wire.inner_headers`). The only field set here is vLLM's `cache_salt`:
vLLM shares its prefix cache between all requests, so that an answer comes sooner if somebody
asked the same before; with a secret salt per domain, domains no longer share (checked
against vLLM 0.32: same salt, cached; another salt, not).

Source: the OpenAI API reference; vLLM's "Automatic prefix caching", cache isolation.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from confide.enclave.inference.backend import (
    AUDIO,
    BackendRequest,
    BackendResponse,
    BackendUnavailable,
    ModelInfo,
    Operation,
    unsupported,
)
from confide.enclave.inference.backends.engine_errors import engine_refusal
from confide.enclave.inference.backends.engine_http import EngineHTTP, check_base_url
from confide.enclave.inference.body import add_fields
from confide.enclave.inference.options import Options, parse_options
from confide.errors import ConfigError, EnclaveError
from confide.telemetry.logs import event

__all__ = ["OpenAIHTTPBackend", "OpenAIHTTPOptions", "cache_salt"]

PATHS: Final = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETIONS: "/completions",
    Operation.EMBEDDINGS: "/embeddings",
    Operation.RESPONSES: "/responses",
    Operation.TRANSCRIPTIONS: "/audio/transcriptions",
    Operation.TRANSLATIONS: "/audio/translations",
}

#: What many servers of this API do not have.
_OPTIONAL: Final = AUDIO | {Operation.RESPONSES}

#: Largest list of token numbers, in bytes.
_MAX_TOKENS: Final = 64 * 1024 * 1024

#: Fields of vLLM and SGLang that reach past the caller's own request: shared caches, other
#: hosts, adapters, code, templates, priority over other callers.
ENGINE_FIELDS: Final = frozenset(
    {
        "cache_salt", "kv_transfer_params", "ec_transfer_params", "priority", "request_id",
        "chat_template", "mm_processor_kwargs", "logits_processors", "vllm_xargs",
        "data_parallel_rank", "bootstrap_host", "bootstrap_port", "bootstrap_room",
        "custom_logit_processor", "custom_params", "lora_path", "rid", "session_params",
        "extra_key", "skip_reading_prefix_cache",
    }
)  # fmt: skip


class OpenAIHTTPOptions(Options):
    """Options of the OpenAI-compatible backend.

    Attributes:
        base_url: Up to and including `/v1`.
        api_key_file: File with the bearer key the server wants.
        engine: "vllm" switches on what only vLLM has.
        isolation: "cache_salt" sends a secret per domain; "none" sends nothing. Default:
            "cache_salt" for vLLM, "none" for others, which may refuse the field.
        trusted_hosts: Hosts beyond loopback and private addresses that may see prompts.
        probe: Whether to ask for `/models` to see if the server is well. Without it, requests
            find out.
        forward_headers: Hand the caller's headers to the server, and the server's to the caller,
            but for those that never travel. Switch it off for a server that reads headers you
            do not know, such as a router of several engines or accounts.
        connect_timeout_s: Seconds to connect.
        read_timeout_s: Seconds between two pieces of an answer.
    """

    base_url: str
    api_key_file: Path | None = None
    engine: Literal["generic", "vllm"] = "generic"
    isolation: Literal["cache_salt", "none"] | None = None
    trusted_hosts: tuple[str, ...] = ()
    probe: bool = True
    forward_headers: bool = True
    connect_timeout_s: float = Field(default=5.0, gt=0)
    read_timeout_s: float = Field(default=300.0, gt=0)


def cache_salt(isolation: bytes) -> str:
    """The salt of one domain: 43 characters, from 256 secret bits.

    Hashed once more, so that an engine never holds the domain's secret itself.
    """
    digest = hashlib.sha256(b"confide/cache-salt/v1\0" + isolation).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class OpenAIHTTPBackend:
    """See the module."""

    kind = "openai_http"
    refused_fields: frozenset[str] = ENGINE_FIELDS

    def __init__(self, name: str, options: Mapping[str, object]) -> None:
        self.name = name
        self.options = parse_options(OpenAIHTTPOptions, name, options)
        self._base_url = check_base_url(name, self.options.base_url, self.options.trusted_hosts)
        vllm = self.options.engine == "vllm"
        self._salted = (self.options.isolation or ("cache_salt" if vllm else "none")) != "none"
        self._http: EngineHTTP | None = None
        self._tokenizer: EngineHTTP | None = None

    async def start(self) -> None:
        """Read the key file and make the connection pool; the server may still be down."""
        headers = {}
        if self.options.api_key_file is not None:
            headers["authorization"] = f"Bearer {self._read_key(self.options.api_key_file)}"
        self._http = self._engine(self._base_url, headers)
        await self._http.start()
        if self.options.engine == "vllm":
            # Its tokenizer lies beside /v1, not in it.
            self._tokenizer = self._engine(self._base_url.removesuffix("/v1"), headers)
            await self._tokenizer.start()
        if not self._salted:
            event("backend-cache-shared", level="warning", backend=self.name, kind=self.kind)

    def _engine(self, base_url: str, headers: Mapping[str, str]) -> EngineHTTP:
        return EngineHTTP(
            base_url,
            headers=headers,
            connect_timeout_s=self.options.connect_timeout_s,
            read_timeout_s=self.options.read_timeout_s,
        )

    def _read_key(self, path: Path) -> str:
        where = f"backend {self.name!r}: api_key_file {path}"
        try:
            key = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: not readable") from error
        if not key or not key.isprintable() or " " in key:
            raise ConfigError(f"{where}: not one key")
        return key

    async def stop(self) -> None:
        """Close every connection."""
        for client in (self._http, self._tokenizer):
            if client is not None:
                await client.stop()
        self._http = self._tokenizer = None

    def _client(self) -> EngineHTTP:
        if self._http is None:
            raise BackendUnavailable("the backend is not started")
        return self._http

    async def models(self) -> list[ModelInfo]:
        """Ask `/models`; also the probe, since it needs the key to be right."""
        status, answer = await self._client().get_json("/models")
        entries = answer.get("data") if isinstance(answer, Mapping) else None
        if status != 200 or not isinstance(entries, list):
            raise BackendUnavailable(f"the engine does not list its models: {status}")
        found = []
        for entry in entries:
            if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
                length = entry.get("max_model_len")
                found.append(
                    ModelInfo(
                        entry["id"], context_length=length if isinstance(length, int) else None
                    )
                )
        return found

    async def probe(self) -> None:
        """Check that the server lists its models."""
        if self.options.probe:
            await self.models()

    async def open(self, request: BackendRequest) -> BackendResponse:
        """Pass the request on; see `Backend.open`."""
        body = request.body
        # A form has no prompt that a prefix cache could share.
        if self._salted and request.operation not in AUDIO:
            body = add_fields(body, request.fields, {"cache_salt": cache_salt(request.isolation)})
        reply = await self._client().send(
            "POST",
            PATHS[request.operation],
            body,
            content_type=request.content_type,
            forwarded=request.headers if self.options.forward_headers else (),
        )
        if reply.status != 200:
            answer = await reply.read_json()
            if request.operation in _OPTIONAL and _no_such_path(reply.status, answer):
                raise unsupported(request.operation)
            raise engine_refusal(reply.status, answer, request.fields)
        told = reply.headers if self.options.forward_headers else ()
        return BackendResponse(200, reply.media_type, reply.pieces(), reply.aclose, told)

    async def count_tokens(self, request: BackendRequest) -> int:
        """Ask vLLM's tokenizer, which applies the template; see `TokenCounter`.

        Raises:
            EnclaveError: 501, another engine: OpenAI's API has no way to ask.
        """
        if self._tokenizer is None:
            raise EnclaveError(
                "this model's engine does not count tokens", status=501, code="not-implemented"
            )
        names = ("messages", "tools", "chat_template_kwargs")
        asked = {name: request.fields[name] for name in names if name in request.fields}
        body = json.dumps({"model": request.model, **asked}, separators=(",", ":")).encode()
        reply = await self._tokenizer.send("POST", "/tokenize", body)
        answer = await reply.read_json(_MAX_TOKENS)
        if reply.status != 200:
            raise engine_refusal(reply.status, answer, request.fields)
        count = answer.get("count") if isinstance(answer, Mapping) else None
        if not isinstance(count, int):
            raise BackendUnavailable("the engine did not count the prompt")
        return count


def _no_such_path(status: int, answer: object) -> bool:
    """Whether a server says that it has no such route, and not that it has no such model.

    FastAPI, and so vLLM and SGLang, answers `{"detail": "Not Found"}`; others answer 405 or a
    page that is not JSON. A refusal of a model is OpenAI's error object.
    """
    if status == 405:
        return True
    return status == 404 and not (isinstance(answer, Mapping) and "error" in answer)
