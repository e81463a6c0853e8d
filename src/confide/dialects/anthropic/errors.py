"""Errors in Anthropic's shape.

    {"type": "error", "error": {"type": ..., "message": ..., "code": ...}, "request_id": ...}

`type` is one of Anthropic's words, chosen by the status. `code` is an addition: the slug of
`docs/reference/error-codes.md`, the same as in the OpenAI dialect. A refused enclave is an
`api_error` whose message starts with "attestation refused" and the check that failed.

Source: Anthropic API reference, errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from confide.dialects.error_bodies import ErrorAnswer, openai_error
from confide.dialects.sse import encode_event
from confide.errors import AttestationError, ConfideError

__all__ = [
    "anthropic_error",
    "anthropic_error_event",
    "error_event_of",
    "translate_error",
]

_OVERLOADED: Final = 529
_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}
# OpenAI's codes for "busy now, ask again": an enclave, a backend or all of them.
_BUSY: Final = frozenset({"no_enclave", "enclave_busy", "model_unavailable", "backend_unavailable"})
_RETRYABLE: Final = frozenset({"retry-after", "x-should-retry", "x-confide-origin"})
_LENGTH: Final = 500  # characters of a message


def anthropic_error(error: ConfideError, *, origin: str | None = None) -> ErrorAnswer:
    """Put an error of ours into Anthropic's shape.

    Args:
        error: Any of ours. Its message holds no secret and no content.
        origin: Who said it, for the header `x-confide-origin`.
    """
    told = openai_error(error, origin=origin)
    return translate_error(told.status, told.body, told.headers, refused=_refused(error))


def anthropic_error_event(error: ConfideError) -> bytes:
    """Write an error as the last event of a stream. No `message_stop` follows it."""
    return encode_event(anthropic_error(error).body.decode(), "error")


def error_event_of(error: object) -> bytes:
    """Translate the `error` member of an OpenAI stream's last event."""
    body = json.dumps({"error": error}).encode()
    return encode_event(translate_error(500, body, ()).body.decode(), "error")


def translate_error(
    status: int,
    body: bytes,
    headers: tuple[tuple[str, str], ...],
    *,
    refused: bool = False,
) -> ErrorAnswer:
    """Translate an error answer from OpenAI's shape.

    Args:
        status: Its HTTP status.
        body: Its body; one that is not in OpenAI's shape becomes a plain sentence.
        headers: Its headers; those about retrying and the request's id are kept.
        refused: No request was sent, because the enclave was refused.
    """
    error = _error_of(body)
    code = error.get("code")
    message = str(error.get("message") or "the request failed")[:_LENGTH]
    kept = {name.lower(): value for name, value in headers}
    if status == 503 and code in _BUSY:
        status = _OVERLOADED
    if refused:
        message = f"attestation refused ({code}): {message}"
    elif code == "context_length_exceeded":
        message = f"prompt is too long: {message}"  # the words that clients look for
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    told: dict[str, Any] = {"type": kind, "message": message}
    if isinstance(code, str):
        told["code"] = code
    request_id = kept.get("confide-request-id")
    whole = {"type": "error", "error": told, "request_id": request_id}
    passed = [(name, value) for name, value in kept.items() if name in _RETRYABLE]
    if request_id is not None:
        passed += [("request-id", request_id), ("confide-request-id", request_id)]
    answer = json.dumps(whole).encode()
    return ErrorAnswer(status, (("content-type", "application/json"), *passed), answer)


def _refused(error: ConfideError) -> bool:
    return isinstance(error, AttestationError)


def _error_of(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = parsed.get("error") if isinstance(parsed, Mapping) else None
    return error if isinstance(error, Mapping) else {}
