"""What a web application tells its own users when confide refuses.

Its users did not choose the gateway, the key or the model, so a refusal of those is the server's
failure (5xx), not theirs. Titles are fixed and there is no detail: messages name the gateway, and
an enclave's may quote the request. `code` is that of the error, for the operator's logs.
"""

from __future__ import annotations

import math
from typing import Final

from confide.errors import (
    AttestationError,
    ConfideError,
    ConfigError,
    ContextTooLong,
    InvalidRequest,
    ModelUnavailable,
    NoEnclaveAvailable,
    RateLimited,
    RequestTooLarge,
    TransportError,
)
from confide.wire.problems import Problem

__all__ = ["retry_after", "user_problem"]

# The most specific class comes first.
_SHAPES: Final[tuple[tuple[type[ConfideError], int, str], ...]] = (
    (AttestationError, 502, "The model's enclave could not be verified; nothing was sent to it"),
    (RequestTooLarge, 413, "The request is too large for the model"),
    (ContextTooLong, 413, "The request is too long for the model"),
    (InvalidRequest, 400, "The model does not accept this request"),
    (RateLimited, 503, "The model is busy; try again later"),
    (NoEnclaveAvailable, 503, "The model is not available now"),
    (ModelUnavailable, 503, "The model is not available now"),
    (ConfigError, 500, "This server's access to the model is not set up"),
)
_BY_CODE: Final = {
    "unreachable": (503, "The model is not available now"),
    "timeout": (504, "The model did not answer in time"),
}
_OTHER: Final = (502, "The model's answer could not be used")


def user_problem(error: ConfideError) -> Problem:
    """Turn an error that a handler let go into the problem document its user gets."""
    status, title = _shape(error)
    return Problem.of(error.code, status, title=title, retry_after_s=retry_after(error))


def retry_after(error: ConfideError) -> float | None:
    """Whole seconds after which trying again makes sense, if anybody said."""
    return float(max(1, math.ceil(error.retry_after))) if isinstance(error, RateLimited) else None


def _shape(error: ConfideError) -> tuple[int, str]:
    if isinstance(error, TransportError):
        return _BY_CODE.get(error.code, _OTHER)
    for kind, status, title in _SHAPES:
        if isinstance(error, kind):
            return status, title
    return _OTHER
