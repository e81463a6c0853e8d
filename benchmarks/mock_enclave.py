"""A cheap stand-in for an enclave, so that the relay in front of it is what is measured.

Serves a genuine key directory, and simulated evidence under the stack's root so that the
gateway of the one-machine stack routes to it. Answers every sealed request with opaque
bytes: either one short body, or chunks at a fixed pace. Plain asyncio protocol, no
framework: its own cost is not part of any figure.

    python -m benchmarks.mock_enclave HOME PORT whole|stream
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import sys
import time
from pathlib import Path

from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.crypto.xwing import PrivateKey
from confide.local.home import Home
from confide.local.simulated import simulated_collector
from confide.wire.directory import Directory, Replica
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument
from confide.wire.media_types import EVIDENCE
from confide.wire.suites import XWING_SUITE

WHOLE = 1024  # bytes of a whole answer
CHUNK = 256  # bytes of a streamed chunk
CHUNKS = 100
PACE_S = 0.02


MANIFEST = b"{}"


def build_directory() -> tuple[bytes, KeyDocument]:
    """A directory with one replica; the gateway asks for its evidence by itself."""
    suite = (XWING_SUITE.kem_id, XWING_SUITE.kdf_id, XWING_SUITE.aead_id)
    config = KeyConfig(
        key_id=secrets.randbelow(256),
        kem_id=suite[0],
        public_key=PrivateKey.generate().public_key,
        symmetric_suites=((suite[1], suite[2]),),
    )
    now = int(time.time())
    document = KeyDocument.build(
        key_configs=[config],
        not_before=now - 60,
        not_after=now + 86_400,
        manifest_sha256=hashlib.sha256(MANIFEST).hexdigest(),
        boot_id=secrets.token_hex(16),
        usage_key=secrets.token_bytes(32),
    )
    return Directory((Replica(document.raw, b"{}", MANIFEST),)).encode(), document


def reply(body: bytes, content_type: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    directory = b""
    document = b""
    collector: SimulatedCollector
    streamed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            if b"transfer-encoding: chunked" in head:
                stop = self.buffer.find(b"0\r\n\r\n", end + 4)
                if stop < 0:
                    return
                total = stop + 5
            else:
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                total = end + 4 + length
                if len(self.buffer) < total:
                    return
            del self.buffer[:total]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        if head.startswith(b"post /v1/sealed"):
            if self.streamed:
                self.task = asyncio.ensure_future(self.stream())
            else:
                self.transport.write(reply(bytes(WHOLE), "message/ohttp-chunked-res"))
        elif head.startswith(b"get /.well-known/confide/keys"):
            self.transport.write(reply(self.directory, "application/vnd.confide.directory+json"))
        elif head.startswith(b"get /.well-known/confide/evidence/"):
            nonce = bytes.fromhex(head.split(b"nonce=", 1)[1][:64].decode())
            evidence = self.collector.collect(
                document=self.document,
                client_nonce=nonce,
                manifest_sha256=hashlib.sha256(MANIFEST).digest(),
                now=time.time(),
            )
            self.transport.write(reply(evidence, EVIDENCE))
        elif b"/v1/usage" in head:
            body = json.dumps({"v": 1, "statements": []}).encode()
            self.transport.write(reply(body, "application/vnd.confide.usage+json"))
        else:
            self.transport.write(reply(b'{"status":"ok"}', "application/json"))

    async def stream(self) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-chunked-res\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        chunk = b"%x\r\n%s\r\n" % (CHUNK, bytes(CHUNK))
        for _ in range(CHUNKS):
            if self.transport.is_closing():
                return
            self.transport.write(chunk)
            await asyncio.sleep(PACE_S)
        self.transport.write(b"0\r\n\r\n")


async def serve(home: str, port: int, mode: str) -> None:
    Connection.directory, document = build_directory()
    Connection.document = document.raw
    Connection.collector = simulated_collector(Home(Path(home)))
    Connection.streamed = mode == "stream"
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    key_id = document.key_configs[0].key_id
    print(json.dumps({"document": document.sha256.hex(), "key_id": key_id}), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
