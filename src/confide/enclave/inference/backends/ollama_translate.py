"""Between the OpenAI API and Ollama's own.

Ollama's `/v1` routes have no tool choice and cut long prompts silently; its native ones can be
told not to. So requests are translated: fields, messages, images, tools, formats; and back:
texts, calls, reasons, usage.

Source: ollama/api/types.go and server/routes.go of August 2026.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Final

from confide.enclave.inference.backend import BackendRequest, Operation
from confide.errors import InvalidRequest

__all__ = ["call_objects", "finish_reason", "native_request"]

#: OpenAI field to Ollama option, where the meaning is the same.
_OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
#: Fields that Ollama cannot honour and that change the answer: silence would be a lie.
_UNSUPPORTED: Final = {"logit_bias": None, "logprobs": False, "top_logprobs": 0}


def native_request(request: BackendRequest) -> dict[str, object]:
    """The body for `/api/chat`, `/api/generate` or `/api/embed`.

    Raises:
        InvalidRequest: Something that Ollama cannot do, or a malformed message.
    """
    fields = request.fields
    body: dict[str, object] = {"model": request.model, "truncate": False}
    if request.operation is Operation.EMBEDDINGS:
        return body | _embedding_fields(fields)
    _refuse_unsupported(fields)
    options = {name: fields[key] for key, name in _OPTIONS.items() if fields.get(key) is not None}
    limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
    if limit is not None:
        options["num_predict"] = limit
    stop = fields.get("stop")
    if stop is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    # The context must not shift either: that would drop the beginning of the prompt.
    body |= {"stream": True, "shift": False, "options": options}
    shape = _format(fields.get("response_format"))
    if shape is not None:
        body["format"] = shape
    if request.operation is Operation.COMPLETIONS:
        return body | {"prompt": _prompt(fields), "raw": True}
    body["messages"] = _messages(fields)
    if fields.get("tools") and fields.get("tool_choice") != "none":
        body["tools"] = fields["tools"]
    return body


def _refuse_unsupported(fields: Mapping[str, object]) -> None:
    for name, harmless in _UNSUPPORTED.items():
        if fields.get(name) not in (None, harmless):
            raise InvalidRequest(f"this model's engine has no {name}", param=name)
    for name in ("n", "best_of"):
        if fields.get(name) not in (None, 1):
            raise InvalidRequest("only one choice can be generated", param=name)
    if fields.get("tool_choice") not in (None, "auto", "none"):
        raise InvalidRequest("this model's engine cannot be forced to call", param="tool_choice")


def _embedding_fields(fields: Mapping[str, object]) -> dict[str, object]:
    given = fields.get("input")
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("input must be a string or a list of strings", param="input")
    found: dict[str, object] = {"input": texts}
    if fields.get("dimensions") is not None:
        found["dimensions"] = fields["dimensions"]
    return found


def _prompt(fields: Mapping[str, object]) -> str:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise InvalidRequest("prompt must be one string", param="prompt")
    return prompt


def _format(wanted: object) -> object:
    """`response_format` as Ollama's `format`: "json" or a schema; None for text."""
    if wanted is None:
        return None
    if isinstance(wanted, Mapping):
        schema = wanted.get("json_schema")
        if wanted.get("type") == "text":
            return None
        if wanted.get("type") == "json_object":
            return "json"
        if wanted.get("type") == "json_schema" and isinstance(schema, Mapping):
            return schema.get("schema", "json")
    raise InvalidRequest("response_format is malformed", param="response_format")


def _messages(fields: Mapping[str, object]) -> list[dict[str, object]]:
    given = fields.get("messages")
    if not isinstance(given, list) or not given:
        raise InvalidRequest("messages must be a list with at least one message", param="messages")
    return [_message(message) for message in given]


def _message(message: object) -> dict[str, object]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidRequest("every message must be an object with a role", param="messages")
    role = message["role"]
    text, images = _content(message.get("content"))
    found: dict[str, object] = {
        "role": "system" if role == "developer" else role,
        "content": text,
    }
    if images:
        found["images"] = images
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        found["tool_calls"] = [_call(call) for call in calls]
    if role == "tool":
        for key, name in (("tool_call_id", "tool_call_id"), ("name", "tool_name")):
            if isinstance(message.get(key), str):
                found[name] = message[key]
    return found


def _content(content: object) -> tuple[str, list[str]]:
    """Text and base64 images of a message."""
    if content is None:
        return "", []
    if isinstance(content, str):
        return content, []
    refused = InvalidRequest("content must be text or a list of parts", param="messages")
    if not isinstance(content, list):
        raise refused
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        if not isinstance(part, Mapping):
            raise refused
        if part.get("type") == "image_url":
            images.append(_image(part.get("image_url")))
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise InvalidRequest("this model takes text and images", param="messages")
    return "\n".join(texts), images


def _image(given: object) -> str:
    """The base64 of a data URL; Ollama wants nothing else."""
    url = given.get("url") if isinstance(given, Mapping) else given
    if isinstance(url, str) and url.startswith("data:"):
        head, comma, content = url.partition(",")
        if comma and head.endswith(";base64"):
            return content
    raise InvalidRequest("an image must be a base64 data: URL", param="messages")


def _call(call: object) -> dict[str, object]:
    """A call of the history: Ollama wants the arguments as an object."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise InvalidRequest("every tool call must be a function", param="messages")
    arguments = function.get("arguments")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        parsed = None
    if not isinstance(parsed, Mapping):
        raise InvalidRequest("a tool call's arguments must be a JSON object", param="messages")
    found: dict[str, object] = {"function": {"name": function.get("name"), "arguments": parsed}}
    if isinstance(call.get("id"), str):
        found["id"] = call["id"]
    return found


def call_objects(message: Mapping[str, object]) -> list[dict[str, object]]:
    """Ollama's calls as OpenAI's: arguments as text, an id always."""
    calls = message.get("tool_calls")
    found: list[dict[str, object]] = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
            found.append(
                {
                    "id": call.get("id") or f"call_{secrets.token_hex(12)}",
                    "type": "function",
                    "function": {"name": function.get("name"), "arguments": arguments},
                }
            )
    return found


def finish_reason(done_reason: object, *, called: bool) -> str:
    """`done_reason` in OpenAI's words."""
    if done_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"
