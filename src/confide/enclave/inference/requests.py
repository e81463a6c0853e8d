"""Turn a client's request into one that a backend may see, or refuse it.

Source: docs/security, the enclave's door: nothing in a request may make an engine reach out,
share state between callers or change how it works for others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from confide.enclave.inference.backend import (
    AUDIO,
    ISOLATION_LENGTH,
    JSON,
    BackendRequest,
    Operation,
)
from confide.enclave.inference.body import JSONBody
from confide.enclave.inference.form import FormBody
from confide.enclave.inference.metering import usage_request
from confide.enclave.inference.responses_api import check_responses
from confide.errors import InvalidRequest
from confide.wire.inner_headers import Fields

__all__ = ["CONTROL_FIELDS", "PreparedRequest", "prepare_request", "streams"]

#: Fields that choose cached state, slots, other hosts or another caller's place. Refused for
#: every engine, also for one that would ignore them: what a request may say does not depend
#: on which backend happens to be healthy. Backends add their own, see `Backend.refused_fields`.
CONTROL_FIELDS: Final = frozenset(
    {
        "cache_prompt", "cache_salt", "id_slot", "lora", "kv_transfer_params",
        "ec_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room",
        "session_params", "keep_alive",
    }
)  # fmt: skip


_PROMPT: Final = ("messages", "prompt", "input", "instructions", "tools")


class PreparedRequest:
    """A checked request, ready for any backend of its model.

    Attributes:
        request: What backends get.
        strip_usage: Usage was asked for on the client's behalf; it must not see it.
        prompt: What the prompt's tokens are estimated from, if the engine reports none.
    """

    def __init__(self, request: BackendRequest, *, strip_usage: bool) -> None:
        self.request = request
        self.strip_usage = strip_usage
        fields = request.fields
        self.prompt = [fields.get(name) for name in _PROMPT]


def prepare_request(
    operation: Operation,
    body: JSONBody | FormBody,
    *,
    stream: bool,
    backend_model: str,
    isolation: bytes,
    refused_fields: Collection[str],
    headers: Fields = (),
) -> PreparedRequest:
    """Check a request and set the fields that the router owns.

    Args:
        operation: What is asked.
        body: The client's body.
        stream: What the caller took the body's `stream` to be.
        backend_model: The engine's name of the model.
        isolation: See `BackendRequest`.
        refused_fields: Fields of engine control, from the model's backends.
        headers: The caller's, those that an engine may see.

    Raises:
        InvalidRequest: Names the field at fault.
        ValueError: The isolation secret is not one.
    """
    if len(isolation) != ISOLATION_LENGTH:
        # An absent secret must not become one that all domains share.
        raise ValueError(f"an isolation secret has {ISOLATION_LENGTH} bytes")
    fields = body.fields
    if streams(fields, form=isinstance(body, FormBody)) is not stream:
        raise InvalidRequest("stream is not what the caller took it for", param="stream")
    if stream and operation is Operation.EMBEDDINGS:
        raise InvalidRequest("embeddings cannot be streamed", param="stream")
    for name in fields:
        if name in refused_fields or name in CONTROL_FIELDS:
            raise InvalidRequest(f"{name} controls the engine and cannot be set", param=name)
    changes: dict[str, object] = {}
    if fields.get("model") != backend_model:
        changes["model"] = backend_model
    asked = None
    if operation is Operation.RESPONSES:
        check_responses(fields)
        changes["store"] = False
    elif stream and operation not in AUDIO:
        asked = usage_request(fields)
        changes |= asked or {}
    _check_media(fields)
    raw = body.with_fields(changes) if changes else body.raw
    seen = MappingProxyType({**fields, **changes})
    content_type = body.content_type if isinstance(body, FormBody) else JSON
    request = BackendRequest(
        operation, backend_model, raw, seen, stream, isolation, content_type, headers
    )
    return PreparedRequest(request, strip_usage=asked is not None)


def streams(fields: Mapping[str, object], *, form: bool = False) -> bool:
    """Whether a request asks for a stream.

    Raises:
        InvalidRequest: It says so in a way that an engine may read differently: an engine may
            take "true" or 1 for true, and the answer would not be what the door expects.
    """
    asked = fields.get("stream")
    if form and isinstance(asked, str) and asked.lower() in ("true", "false"):
        return asked.lower() == "true"
    if not isinstance(asked, bool | None):
        raise InvalidRequest("stream must be true or false", param="stream")
    return asked is True


def _check_media(fields: Mapping[str, object]) -> None:
    """Refuse media by address: an engine would fetch it, from inside, for the caller."""
    for name in ("messages", "prompt", "input", "instructions"):
        for url in _media_urls(fields.get(name)):
            if not isinstance(url, str) or not url.startswith("data:"):
                raise InvalidRequest(
                    "media must be in the request as data: URLs; nothing is fetched", param=name
                )


def _media_urls(content: object) -> Iterator[object]:
    """Every `*_url` value of message parts: `{"type": "image_url", "image_url": {"url": U}}`."""
    waiting = [content]
    while waiting:  # not recursive: the depth is the caller's choice
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                if name.endswith("_url"):
                    yield inner.get("url") if isinstance(inner, Mapping) else inner
                else:
                    waiting.append(inner)
