"""Problem documents: how a request is refused before anything was opened (RFC 9457).

A problem document is plaintext and therefore untrusted: it may tell the client to
refresh a key or to wait, and never counts as an answer of the model. Every failure
to open a request has the same shape, so that it says nothing about the cause.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from confide.errors import (
    AuthenticationError,
    ConfideError,
    GatewayError,
    KeyConfigError,
    NoEnclaveAvailable,
    PermissionDenied,
    RateLimited,
    ReplayError,
    RequestTooLarge,
    RouteNotFound,
    SealingError,
)
from confide.wire import strict_json
from confide.wire.strict_json import MalformedJSON

__all__ = ["DATE_TYPE", "MAX_PROBLEM", "OHTTP_KEY_TYPE", "Problem", "error_for", "problem_for"]

OHTTP_KEY_TYPE: Final = "https://iana.org/assignments/http-problem-types#ohttp-key"
DATE_TYPE: Final = "https://iana.org/assignments/http-problem-types#date"
MAX_PROBLEM: Final = 16 * 1024
_PREFIX: Final = "https://confide.example/problems/"
_MAX_TEXT = 500
_DEFAULT_RETRY_S = 1.0

_GATEWAY_ERRORS: dict[str, type[GatewayError]] = {
    "invalid-api-key": AuthenticationError,
    "key-expired": AuthenticationError,
    "permission-denied": PermissionDenied,
    "route-not-found": RouteNotFound,
    "request-too-large": RequestTooLarge,
    "no-enclave": NoEnclaveAvailable,
}
_STATUS_ERRORS: dict[int, type[GatewayError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: RouteNotFound,
    413: RequestTooLarge,
    503: NoEnclaveAvailable,
}
_TITLES = {
    "ohttp-key": "The key this request was sealed to cannot open it",
    "date": "The request is too old, too new or was seen before",
    "invalid-api-key": "The API key is not known",
    "key-expired": "The API key expired",
    "permission-denied": "This caller may not do this",
    "route-not-found": "There is no such route",
    "request-too-large": "The sealed request is too large",
    "rate-limited": "A limit of this key was reached",
    "too-many-streams": "Too many requests of this key are running",
    "no-enclave": "No enclave holds the key this request was sealed to",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document.

    Attributes:
        type: URI that identifies the kind of problem.
        title: Short sentence, the same for every problem of the type.
        status: HTTP status.
        code: Stable slug, last part of our own types.
        retry_after_s: Seconds to wait before trying again, or None.
        request_id: Id the gateway gave the request, or None.
        detail: One more sentence about this case, or None. Never content.
    """

    type: str
    title: str
    status: int
    code: str
    retry_after_s: float | None = None
    request_id: str | None = None
    detail: str | None = None

    @classmethod
    def of(
        cls,
        code: str,
        status: int,
        *,
        title: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        detail: str | None = None,
    ) -> Problem:
        """Build a problem from its code; type and title follow from it."""
        kind = {"ohttp-key": OHTTP_KEY_TYPE, "date": DATE_TYPE}.get(code, _PREFIX + code)
        title = title or _TITLES.get(code, code.replace("-", " "))
        return cls(kind, title, status, code, retry_after_s, request_id, detail)

    def encode(self) -> bytes:
        """Write `application/problem+json`; members without a value are left out."""
        members: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "retry_after_s": self.retry_after_s,
            "request_id": self.request_id,
            "detail": self.detail,
        }
        present = {name: value for name, value in members.items() if value is not None}
        return json.dumps(present, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, raw: bytes) -> Problem:
        """Read a problem document of unknown origin.

        Unknown members are ignored (RFC 9457 section 3.2); text is cut to 500
        characters and loses its control characters.

        Raises:
            GatewayError: `raw` is not a problem document.
        """
        try:
            members = strict_json.object_of(raw, max_bytes=MAX_PROBLEM)
            status = strict_json.boolean_free_int(
                members.get("status"), "status", low=100, high=599
            )
        except MalformedJSON:
            raise GatewayError(
                "the gateway answered with something that is no problem document",
                code="not-a-problem",
            ) from None
        kind = _clean(members.get("type")) or "about:blank"
        return cls(
            type=kind,
            title=_clean(members.get("title")) or "",
            status=status,
            code=_code(kind, _clean(members.get("code"))),
            retry_after_s=_seconds(members.get("retry_after_s")),
            request_id=_clean(members.get("request_id")),
            detail=_clean(members.get("detail")),
        )


def _clean(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return "".join(c if c.isprintable() else " " for c in value[:_MAX_TEXT])


def _code(kind: str, code: str | None) -> str:
    if kind in (OHTTP_KEY_TYPE, DATE_TYPE):
        return kind.rpartition("#")[2]
    if kind.startswith(_PREFIX):
        return kind.removeprefix(_PREFIX)
    return code or "gateway"


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86400:
        return None
    return float(value)


def error_for(problem: Problem) -> GatewayError | KeyConfigError | ReplayError:
    """Turn a problem document into the error the client raises."""
    message = problem.detail or problem.title or f"the gateway answered {problem.status}"
    if problem.type == OHTTP_KEY_TYPE:
        return KeyConfigError(message)
    if problem.type == DATE_TYPE:
        return ReplayError(message)
    if problem.status == 429:
        wait = _DEFAULT_RETRY_S if problem.retry_after_s is None else problem.retry_after_s
        return RateLimited(
            message, retry_after=wait, request_id=problem.request_id, code=problem.code
        )
    kind = _GATEWAY_ERRORS.get(problem.code) or _STATUS_ERRORS.get(problem.status, GatewayError)
    return kind(message, status=problem.status, request_id=problem.request_id, code=problem.code)


def problem_for(error: ConfideError, *, request_id: str | None = None) -> Problem:
    """Turn an error raised before anything was opened into its problem document.

    Every `SealingError` but `ReplayError` and a body that is too large becomes the
    same `ohttp-key` problem, whatever step failed.
    """
    if isinstance(error, ReplayError):
        return Problem.of("date", 400, request_id=request_id)
    if isinstance(error, SealingError):
        if error.code == "too-large":
            return Problem.of("request-too-large", 413, request_id=request_id)
        return Problem.of("ohttp-key", 400, request_id=request_id)
    if isinstance(error, GatewayError):
        return Problem.of(
            error.code,
            error.status,
            retry_after_s=error.retry_after if isinstance(error, RateLimited) else None,
            request_id=request_id or error.request_id,
            detail=str(error) or None,
        )
    return Problem.of("internal", 500, request_id=request_id)
