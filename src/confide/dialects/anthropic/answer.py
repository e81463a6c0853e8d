"""A whole chat completion as an Anthropic message.

Source: OpenAI API reference, chat completion object; Anthropic API reference, message
object, stop reasons and usage.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from confide.dialects.anthropic.fields import Fields
from confide.dialects.anthropic.ids import tool_use_id
from confide.dialects.anthropic.request import ChatRequest
from confide.errors import EnclaveError

__all__ = [
    "count_answer",
    "empty_message",
    "reasoning_of",
    "signature",
    "stop_fields",
    "translate_answer",
    "usage_fields",
]

_SIGNED: Final = b"confide/thinking/v1\0"


def translate_answer(body: bytes, request: ChatRequest, message_id: str) -> bytes:
    """Translate the body of a chat completion.

    Args:
        body: What the enclave answered with status 200.
        request: What it was asked.
        message_id: Id of the message, such as "msg_0123".

    Raises:
        EnclaveError: It is no chat completion, or holds a tool call that cannot be read.
    """
    answer = _object(body)
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise _unreadable("the enclave's answer is no chat completion")
    cut = choice.get("finish_reason") == "length"
    calls = _tool_uses(message, request, message_id, cut=cut)
    content = _thinking(message, request) + _text(message) + calls
    whole = empty_message(request, message_id) | {"content": content}
    whole |= stop_fields(choice, request, called=bool(calls), refused=_refusal(message) is not None)
    whole["usage"] = usage_fields(answer.get("usage"))
    return json.dumps(whole, separators=(",", ":")).encode()


def count_answer(body: bytes) -> bytes:
    """Translate the tokenizer's answer.

    Raises:
        EnclaveError: It names no number.
    """
    count = _object(body).get("input_tokens")
    if not isinstance(count, int):
        raise _unreadable("the enclave did not count the tokens")
    return json.dumps({"input_tokens": count}).encode()


def _object(body: bytes) -> Fields:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, Mapping):
        raise _unreadable("the enclave's answer is not a JSON object")
    return answer


def _unreadable(message: str) -> EnclaveError:
    return EnclaveError(message, status=502, code="answer-malformed")


def empty_message(request: ChatRequest, message_id: str) -> dict[str, Any]:
    """A message before its first block."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_fields(None),
    }


def _thinking(message: Fields, request: ChatRequest) -> list[dict[str, Any]]:
    thought = reasoning_of(message)
    if not thought or not request.shows_thinking:
        return []
    return [{"type": "thinking", "thinking": thought, "signature": signature(thought)}]


def _text(message: Fields) -> list[dict[str, Any]]:
    texts = (message.get("content"), _refusal(message))
    return [{"type": "text", "text": text} for text in texts if isinstance(text, str) and text]


def _refusal(message: Fields) -> str | None:
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) and refusal else None


def _tool_uses(
    message: Fields, request: ChatRequest, message_id: str, *, cut: bool
) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    found = []
    for number, call in enumerate(calls if isinstance(calls, list) else []):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise _unreadable("the model's tool call cannot be read")
        arguments = _arguments(function.get("arguments"))
        if arguments is None:
            if cut:
                break  # the answer ended inside this call; what came before is whole
            # An empty input would run the tool with other arguments than the model gave.
            raise _unreadable("the model's tool call holds no JSON object")
        identity = call.get("id") or f"call_{message_id}_{number}"
        name = request.names.restore(str(function.get("name", "")))
        block = {"type": "tool_use", "id": tool_use_id(str(identity)), "name": name}
        found.append({**block, "input": arguments})
    return found


def _arguments(written: object) -> Fields | None:
    if written is None or written == "":
        return {}
    try:
        parsed = json.loads(written) if isinstance(written, str) else written
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, Mapping) else None


def reasoning_of(message: Fields) -> str | None:
    """The reasoning in a message or delta; engines do not agree on the field's name."""
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def signature(thought: str) -> str:
    """The `signature` of a thinking block: clients send it back and refuse an empty one.

    It is a digest that proves nothing; nobody here checks it.
    """
    digest = hashlib.sha256(_SIGNED + thought.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(digest).decode()


def stop_fields(
    choice: Fields, request: ChatRequest, *, called: bool, refused: bool = False
) -> dict[str, Any]:
    """`stop_reason` and `stop_sequence`.

    Args:
        choice: The choice with its `finish_reason`, and `stop_reason` where the engine says
            which string ended the answer.
        request: What was asked.
        called: The answer holds a call of a tool.
        refused: The answer is a refusal.
    """
    finish, matched = choice.get("finish_reason"), choice.get("stop_reason")
    if finish == "length":
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    if called:  # also if the engine says "stop", as after a forced call
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if refused or finish == "content_filter":
        return {"stop_reason": "refusal", "stop_sequence": None}
    if isinstance(matched, str) and matched in request.stop_sequences:
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    return {"stop_reason": "end_turn", "stop_sequence": None}


def usage_fields(usage: object) -> dict[str, Any]:
    """Anthropic's usage: `input_tokens` does not hold what came from a cache."""
    given = usage if isinstance(usage, Mapping) else {}
    details = given.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    return {
        "input_tokens": max(0, _count(given.get("prompt_tokens")) - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": _count(given.get("completion_tokens")),
    }


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
