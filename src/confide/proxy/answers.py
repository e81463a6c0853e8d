"""Send an error of ours to the proxy's caller, in OpenAI's shape."""

from __future__ import annotations

from starlette.types import Send

from confide.dialects.error_bodies import openai_error
from confide.errors import ConfideError

__all__ = ["send_body", "send_error"]


async def send_error(send: Send, error: ConfideError) -> None:
    """Send one whole error answer, marked as the proxy's own."""
    answer = openai_error(error, origin="proxy")
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    await send_body(send, answer.status, headers, answer.body)


async def send_body(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send one whole answer with its length."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
