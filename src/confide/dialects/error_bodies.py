"""Our errors as OpenAI's error body.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

`type` and `code` use OpenAI's own words where they have one for the case, so that error
handling written for OpenAI keeps working. What OpenAI has no word for keeps our slug, with
underscores. A refused enclave has a type of its own, `attestation_error`, and its code is
the name of the check that failed.

The header `x-should-retry` tells OpenAI's SDKs whether sending again can help. It says no
whenever the request may have been processed, and when trying again cannot change the answer.

Source: the error codes of OpenAI's API reference; `_should_retry` in openai-python.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

from confide.dialects.sse import encode_event
from confide.errors import (
    AttestationError,
    AuthenticationError,
    ConfideError,
    ConfigError,
    ContextTooLong,
    EnclaveError,
    GatewayError,
    InvalidRequest,
    KeyConfigError,
    ModelNotAllowed,
    ModelNotFound,
    ModelUnavailable,
    NoEnclaveAvailable,
    PermissionDenied,
    RateLimited,
    ReplayError,
    RequestTooLarge,
    RouteNotFound,
    SealingError,
    StreamTruncated,
    TransportError,
)

__all__ = ["ErrorAnswer", "openai_error", "openai_error_event"]

_INVALID = "invalid_request_error"
_SERVER = "server_error"
_SEALING = "sealing_error"
_MESSAGE_LENGTH = 500  # characters; a gateway's text is untrusted and may be long


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one class of errors looks in OpenAI's dialect.

    Attributes:
        type: OpenAI's `type`.
        code: OpenAI's `code`; None keeps the error's own slug.
        status: HTTP status where the error carries none.
        retry: What `x-should-retry` says; None leaves it to the SDK.
    """

    type: str
    code: str | None = None
    status: int = 500
    retry: bool | None = None


# The most specific class comes first.
_SHAPES: tuple[tuple[type[ConfideError], _Shape], ...] = (
    (AttestationError, _Shape("attestation_error", status=502, retry=False)),
    (AuthenticationError, _Shape(_INVALID, retry=False)),
    (PermissionDenied, _Shape(_INVALID, retry=False)),
    (RouteNotFound, _Shape(_INVALID, "unknown_url", retry=False)),
    (RequestTooLarge, _Shape(_INVALID, retry=False)),
    (RateLimited, _Shape("rate_limit_error", "rate_limit_exceeded")),
    (NoEnclaveAvailable, _Shape(_SERVER)),
    (GatewayError, _Shape(_SERVER, retry=False)),
    (ContextTooLong, _Shape(_INVALID, "context_length_exceeded")),
    (InvalidRequest, _Shape(_INVALID)),
    (ModelNotFound, _Shape(_INVALID, "model_not_found")),
    (ModelNotAllowed, _Shape(_INVALID, "model_not_allowed")),
    (ModelUnavailable, _Shape(_SERVER)),
    (EnclaveError, _Shape(_SERVER)),
    (KeyConfigError, _Shape(_SEALING, "key_rejected", status=503)),
    (ReplayError, _Shape(_SEALING, "date_refused", status=502, retry=False)),
    (StreamTruncated, _Shape(_SEALING, status=502, retry=False)),
    (SealingError, _Shape(_SEALING, "answer_not_authentic", status=502, retry=False)),
    (ConfigError, _Shape("configuration_error", status=500, retry=False)),
)
_TRANSPORT = {
    # Nothing was sent, so trying again is harmless.
    "unreachable": _Shape("connection_error", "gateway_unreachable", status=503),
    "timeout": _Shape("connection_error", "gateway_timeout", status=504, retry=False),
}
_TRANSPORT_CUT = _Shape("connection_error", "gateway_connection_lost", status=502, retry=False)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """One error as an HTTP answer.

    Attributes:
        status: HTTP status.
        headers: Names in lower case; content-type is among them, content-length is not.
        body: JSON.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def openai_error(error: ConfideError, *, origin: str | None = None) -> ErrorAnswer:
    """Put an error into OpenAI's shape.

    Args:
        error: Any of ours. Its message holds no secret and no content.
        origin: Who said it, for the header `x-confide-origin`: "gateway", "client",
            "proxy". Left out if None; then the answer is the enclave's own.
    """
    shape = _shape(error)
    headers = [("content-type", "application/json")]
    if origin is not None:
        headers.append(("x-confide-origin", origin))
    if isinstance(error, RateLimited):
        headers.append(("retry-after", str(max(0, math.ceil(error.retry_after)))))
    if shape.retry is not None:
        headers.append(("x-should-retry", "true" if shape.retry else "false"))
    request_id = getattr(error, "request_id", None)
    if request_id:
        headers += [("confide-request-id", request_id), ("x-request-id", request_id)]
    status = error.status if isinstance(error, GatewayError | EnclaveError) else shape.status
    return ErrorAnswer(status, tuple(headers), _body(error, shape))


def openai_error_event(error: ConfideError) -> bytes:
    """Write an error as the last event of a stream. No `[DONE]` follows it."""
    return encode_event(_body(error, _shape(error)).decode())


def _shape(error: ConfideError) -> _Shape:
    if isinstance(error, TransportError):
        return _TRANSPORT.get(error.code, _TRANSPORT_CUT)
    for kind, shape in _SHAPES:
        if isinstance(error, kind):
            at_fault = kind is GatewayError and error.status < 500  # type: ignore[attr-defined]
            return replace(shape, type=_INVALID) if at_fault else shape
    return _Shape(_SERVER)


def _body(error: ConfideError, shape: _Shape) -> bytes:
    message = str(error) or type(error).__name__
    if error.hint:
        message = f"{message} ({error.hint})"
    # Attestation codes are names such as "binding.report_data" and stay as they are.
    code = shape.code or error.code.replace("-", "_")
    members = {
        "message": _printable(message)[:_MESSAGE_LENGTH],
        "type": shape.type,
        "param": getattr(error, "param", None),
        "code": code,
    }
    return json.dumps({"error": members}).encode()


def _printable(text: str) -> str:
    """Drop control characters: the text may come from a gateway and reach a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
