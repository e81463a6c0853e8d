"""Send an error of ours to the proxy's caller, in the dialect it speaks."""

from __future__ import annotations

from typing import Literal, TypeAlias

from starlette.types import Send

from confide.dialects.anthropic import anthropic_error
from confide.dialects.error_bodies import ErrorAnswer, openai_error
from confide.errors import ConfideError

__all__ = ["Dialect", "error_answer", "send_answer", "send_body", "send_error"]

Dialect: TypeAlias = Literal["openai", "anthropic"]


def error_answer(error: ConfideError, dialect: Dialect = "openai") -> ErrorAnswer:
    """Put an error into a dialect, marked as the proxy's own."""
    shape = anthropic_error if dialect == "anthropic" else openai_error
    return shape(error, origin="proxy")


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
