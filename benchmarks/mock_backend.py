"""A cheap OpenAI-compatible server, so that the road to it is what is measured.

python -m benchmarks.mock_backend PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

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
        if head.startswith(b"get"):
            self.transport.write(reply(MODELS))
        elif b'"stream":true' in (start + tail).replace(b" ", b""):
            self.task = asyncio.ensure_future(self.stream())
        else:
            self.transport.write(reply(WHOLE))

    async def stream(self) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for number in range(TOKENS):
            if self.transport.is_closing():
                return
            self.transport.write(chunk(event({"content": f"token{number} "})))
            await asyncio.sleep(PACE_S)
        ending = event({}, "stop") + USAGE + b"data: [DONE]\n\n"
        self.transport.write(chunk(ending) + b"0\r\n\r\n")


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
