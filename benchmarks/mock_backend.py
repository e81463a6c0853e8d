"""A cheap server of both dialects, so that the road to it is what is measured.

python -m benchmarks.mock_backend PORT [TOKENS]
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator

TOKENS = 20
PACE_S = 0.01


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    body = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "mock",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


WHOLE = json.dumps(
    {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "an answer of a few words"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 8, "completion_tokens": 6, "total_tokens": 14},
    }
).encode()
MODELS = json.dumps(
    {"object": "list", "data": [{"id": "mock", "object": "model", "created": 1, "owned_by": "x"}]}
).encode()
USAGE = (
    b'data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1,"model":"mock",'
    b'"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":20,"total_tokens":28}}\n\n'
)


def message_event(kind: str, **members: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


MESSAGE = {
    "id": "msg_mock",
    "type": "message",
    "role": "assistant",
    "model": "mock",
    "content": [{"type": "text", "text": "an answer of a few words"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 8, "output_tokens": 6},
}
MESSAGE_START = message_event(
    "message_start", message={**MESSAGE, "content": [], "stop_reason": None}
) + message_event("content_block_start", index=0, content_block={"type": "text", "text": ""})
MESSAGE_END = (
    message_event("content_block_stop", index=0)
    + message_event(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": 20},
    )
    + message_event("message_stop")
)


def openai_pieces(tokens: int) -> Iterator[bytes]:
    for number in range(tokens):
        yield event({"content": f"token{number} "})
    yield event({}, "stop") + USAGE + b"data: [DONE]\n\n"


def anthropic_pieces(tokens: int) -> Iterator[bytes]:
    for number in range(tokens):
        delta = {"type": "text_delta", "text": f"token{number} "}
        said = message_event("content_block_delta", index=0, delta=delta)
        yield said if number else MESSAGE_START + said
    yield MESSAGE_END


def reply(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if b"transfer-encoding: chunked" in head:
            if not self.buffer.endswith(b"0\r\n\r\n"):
                return
            length = len(self.buffer) - end - 4
        if len(self.buffer) < end + 4 + length:
            return
        tail = bytes(self.buffer[-300:])
        start = bytes(self.buffer[end + 4 : end + 304])
        self.buffer.clear()
        message = head.startswith(b"post /v1/messages")
        if head.startswith(b"get"):
            self.transport.write(reply(MODELS))
        elif b'"stream":true' in (start + tail).replace(b" ", b""):
            pieces = anthropic_pieces(TOKENS) if message else openai_pieces(TOKENS)
            self.task = asyncio.ensure_future(self.stream(pieces))
        else:
            self.transport.write(reply(json.dumps(MESSAGE).encode() if message else WHOLE))

    async def stream(self, pieces: Iterator[bytes]) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            if self.transport.is_closing():
                return
            self.transport.write(chunk(piece))
            await asyncio.sleep(PACE_S)
        self.transport.write(b"0\r\n\r\n")


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    TOKENS = int(sys.argv[2]) if len(sys.argv) > 2 else TOKENS
    asyncio.run(serve(int(sys.argv[1])))
