"""Send an error of ours to the proxy's caller, in the dialect it speaks."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Literal, TypeAlias

from starlette.types import Send

from confide.dialects.anthropic import anthropic_error
from confide.dialects.error_bodies import ErrorAnswer, openai_error
from confide.errors import ConfideError

__all__ = [
    "Dialect",
    "error_answer",
    "identified",
    "new_request_id",
    "send_answer",
    "send_body",
    "send_error",
]

Dialect: TypeAlias = Literal["openai", "anthropic"]


def error_answer(error: ConfideError, dialect: Dialect = "openai") -> ErrorAnswer:
    """Put an error into a dialect, marked as the proxy's own, with an id of the request."""
    if dialect == "anthropic":
        return identified(anthropic_error(error, origin="proxy"))
    answer = openai_error(error, origin="proxy")
    if any(name == "x-request-id" for name, _ in answer.headers):
        return answer
    return replace(answer, headers=(*answer.headers, ("x-request-id", new_request_id())))


def identified(answer: ErrorAnswer) -> ErrorAnswer:
    """Give an error in Anthropic's shape an id of ours, if the gateway gave it none."""
    if any(name == "request-id" for name, _ in answer.headers):
        return answer
    identity = new_request_id()
    body = json.dumps({**json.loads(answer.body), "request_id": identity}).encode()
    return ErrorAnswer(answer.status, (*answer.headers, ("request-id", identity)), body)


def new_request_id() -> str:
    """An id for a request that has none from the gateway."""
    return f"req_{secrets.token_hex(12)}"


async def send_error(send: Send, error: ConfideError, dialect: Dialect = "openai") -> None:
    """Send one whole error answer, marked as the proxy's own."""
    await send_answer(send, error_answer(error, dialect))


async def send_answer(send: Send, answer: ErrorAnswer) -> None:
    """Send one whole error answer."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    await send_body(send, answer.status, headers, answer.body)


async def send_body(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send one whole answer with its length."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
