"""An enclave made of raw sockets, and a raw HTTP client: both do exactly what a test says."""

import asyncio
import hashlib
import json
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.gateway.judges import Judge

from confide.apps.gateway import build_gateway
from confide.config.gateway import GatewaySettings
from confide.gateway.accounts import Accounts
from confide.gateway.server import Listening, listen, make_server
from confide.gateway.setup import prepare
from confide.identity.api_keys import mint
from confide.wire.directory import Directory, Replica
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument
from confide.wire.media_types import CHUNKED_REQUEST
from confide.wire.usage import (
    FIRST_PREVIOUS,
    SignedStatement,
    UsageStatement,
    encode_batch,
    signed_bytes,
)

PREFIX_LENGTH = 7 + 1120


def sealed(key_id=1, body=b"ciphertext", kem_id=0x647A):
    """Bytes with the clear prefix of a sealed request."""
    header = bytes([key_id]) + kem_id.to_bytes(2, "big") + b"\x00\x01\x00\x02"
    return header + os.urandom(PREFIX_LENGTH - 7) + body


def make_document(usage_key, *, key_id=1, boot_id="ab" * 16, not_after=None):
    config = KeyConfig(key_id, 0x647A, os.urandom(1216), ((1, 2),))
    now = int(time.time())
    return KeyDocument.build(
        key_configs=[config],
        not_before=now - 10,
        not_after=not_after or now + 86400,
        manifest_sha256=hashlib.sha256(b"manifest").hexdigest(),
        boot_id=boot_id,
        usage_key=usage_key.public_key().public_bytes_raw(),
    )


@dataclass
class Request:
    """One request as the double received it."""

    method: str
    target: str
    headers: dict
    body: bytearray
    reader: asyncio.StreamReader = None
    writer: asyncio.StreamWriter = None
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    gone_at: float = 0.0


class EnclaveDouble:
    """Serves a key document, statements, and whatever `answer` does with sealed requests."""

    def __init__(self, *, key_id=1, boot_id="ab" * 16):
        self.usage_key = Ed25519PrivateKey.generate()
        self.document = make_document(self.usage_key, key_id=key_id, boot_id=boot_id)
        self.healthy = True
        self.requests = []
        self.connections = 0
        self.texts = []
        self.acknowledged = 0
        self.answer = self.complete
        self.arrived = asyncio.Condition()
        self.reads = asyncio.Event()  # clear it, and bodies are not read
        self.reads.set()
        self.challenges = []
        self.quotes = asyncio.Event()  # clear it, and evidence never comes
        self.quotes.set()
        self._seq, self._previous = 0, FIRST_PREVIOUS

    # ---- statements -------------------------------------------------------------------------

    def sign(self, request_id="r", *, key=None, **changes):
        values = {
            "seq": self._seq + 1, "request_id": request_id, "domain": "default",
            "key_id": "key_1", "model_class": "small", "operation": "chat",
            "prompt_tokens": 16, "completion_tokens": 32, "precision": "bucketed",
            "outcome": "complete", "started_at": 1_900_000_000, "duration_ms": 5,
            "boot_id": self.document.boot_id, "previous": self._previous,
        } | changes  # fmt: skip
        statement = UsageStatement(**values)
        raw = statement.encode()
        signed = SignedStatement(raw, (key or self.usage_key).sign(signed_bytes(raw)))
        self._seq, self._previous = statement.seq, statement.sha256
        self.texts.append((statement.seq, signed))
        return signed

    # ---- answers to sealed requests -----------------------------------------------------------

    async def complete(self, request):
        await request.whole.wait()
        await self.reply(request, 200, b"sealed answer", kind=b"message/ohttp-chunked-res")

    async def problem(self, request):
        await self.reply(request, 400, b"{}", kind=b"application/problem+json")

    async def head(self, request, length=None):
        framing = (
            b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
        )
        request.writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: message/ohttp-chunked-res\r\n"
            b"incremental: ?1\r\nset-cookie: a=b\r\nserver: x\r\n" + framing + b"\r\n\r\n"
        )
        await request.writer.drain()

    async def chunk(self, request, content):
        request.writer.write(b"%x\r\n%b\r\n" % (len(content), content))
        await request.writer.drain()

    async def end(self, request):
        request.writer.write(b"0\r\n\r\n")
        await request.writer.drain()

    async def reply(self, request, status, content, kind=b"application/json"):
        request.writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (status, kind, len(content), content)
        )
        await request.writer.drain()

    # ---- server -----------------------------------------------------------------------------

    @asynccontextmanager
    async def serve(self, port=0):
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._writers = set()
        try:
            self._server = server
            yield self
        finally:
            await self.shut()

    async def shut(self):
        """Stop listening and drop every connection."""
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        request = Request(method, target, headers, bytearray(), reader, writer)
        if not target.startswith("/v1/sealed"):
            await self._plain(request)
            return True
        self.requests.append(request)
        async with self.arrived:
            self.arrived.notify_all()
        answering = asyncio.ensure_future(self.answer(request))
        reading = asyncio.ensure_future(self._read(request))
        try:
            await answering
        finally:
            if request.whole.is_set() and not request.gone.is_set():
                reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        return not request.gone.is_set() and not writer.is_closing()

    async def _read(self, request):
        """Read the body, then wait for the connection to go."""
        reader = request.reader
        await self.reads.wait()
        try:
            if "content-length" in request.headers:
                left = int(request.headers["content-length"])
                while left:
                    piece = await reader.read(min(left, 65536))
                    if not piece:
                        raise ConnectionError
                    request.body += piece
                    left -= len(piece)
            else:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    request.body += (await reader.readexactly(size + 2))[:-2]
                await reader.readexactly(2)
            request.whole.set()
            if not await reader.read(1):
                raise ConnectionError
        except (ConnectionError, asyncio.IncompleteReadError):
            request.gone_at = time.monotonic()
            request.gone.set()

    async def _plain(self, request):
        if request.target == "/healthz":
            await self.reply(request, 200 if self.healthy else 503, b"{}")
        elif request.target == "/.well-known/confide/keys":
            replica = Replica(self.document.raw, b"evidence", b"manifest")
            await self.reply(request, 200, Directory((replica,)).encode())
        elif request.target.startswith("/.well-known/confide/evidence/"):
            self.challenges.append(request)
            async with self.arrived:
                self.arrived.notify_all()
            if not self.quotes.is_set():
                await request.reader.read(1)
                request.gone.set()
            await self.reply(request, 200, b'{"evidence for": "%b"}' % request.target.encode())
        elif request.target.startswith("/v1/usage?after="):
            after = int(request.target.partition("=")[2])
            self.token = request.headers["authorization"]
            await self.reply(
                request, 200, encode_batch(one for seq, one in self.texts if seq > after)
            )
        elif request.target == "/v1/usage/ack":
            body = await request.reader.readexactly(int(request.headers["content-length"]))
            self.acknowledged = json.loads(body)["through"]
            await self.reply(request, 204, b"")
        else:
            await self.reply(request, 404, b"{}")

    async def next_request(self, count=1):
        """Wait until so many sealed requests arrived; return the last."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]


# ---- gateway -----------------------------------------------------------------------------


class Gateway:
    """A gateway under uvicorn in this loop."""

    def __init__(self, folder, **settings):
        self.settings = GatewaySettings(
            database=folder / "gateway.db",
            grant_key_file=folder / "grant.key",
            pepper_file=folder / "pepper",
            poll_s=settings.pop("poll_s", 0.2),
            requests_per_minute=settings.pop("requests_per_minute", 100_000),
            **settings,
        )
        self.state = prepare(self.settings)
        self.judge = Judge()

    def key(self, **limits):
        clear, record = mint(self.state.pepper, now=limits.pop("now", time.time()), **limits)
        Accounts(self.settings.database).add_key(record)
        self.key_id = record.id
        return clear.reveal()

    @asynccontextmanager
    async def serve(self, **options):
        options.setdefault("verifier", self.judge)
        app = build_gateway(self.settings, **options)
        self.parts = app.parts
        where = Listening("127.0.0.1", 0, drain_s=10)
        listener = listen(where)
        self.port = listener.getsockname()[1]
        self.server = make_server(app, where)
        serving = asyncio.ensure_future(self.server._serve([listener]))
        await until(lambda: self.server.started)
        try:
            yield self
        finally:
            self.server.should_exit = True
            await serving
            listener.close()

    async def ready(self, enclaves=1):
        await until(lambda: self.parts.registry.healthy >= enclaves)

    def rows(self, query):
        from confide.gateway.schema import connect

        connection = connect(self.settings.database, read_only=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


async def until(claim, within_s=5):
    """Poll until a claim holds."""
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.002)


# ---- client -----------------------------------------------------------------------------------


class Client:
    """One raw connection."""

    @classmethod
    async def connect(cls, port, **options):
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, **options)
        return self

    def head(self, method, target, headers):
        lines = [f"{method} {target} HTTP/1.1", "host: gateway"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def post(self, key, body, *, document=None, length=None, kind=CHUNKED_REQUEST, extra=()):
        headers = [("authorization", f"Bearer {key}"), ("content-type", kind), *extra]
        headers.append(("content-length", length if length is not None else len(body)))
        if document:
            headers.append(("confide-document", document))
        self.head("POST", "/v1/sealed", headers)
        self.writer.write(body)

    async def status(self):
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        return int(first.split(" ")[1])

    async def body(self):
        """The whole body, or IncompleteReadError if it was cut."""
        async with asyncio.timeout(10):
            if "content-length" in self.headers:
                return await self.reader.readexactly(int(self.headers["content-length"]))
            parts = []
            while content := await self.chunk():
                parts.append(content)
            return b"".join(parts)

    async def chunk(self):
        async with asyncio.timeout(10):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def problem(self):
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(await self.body())

    def close(self):
        self.writer.transport.abort()


async def get(port, target, key=None):
    client = await Client.connect(port)
    client.head("GET", target, [("authorization", f"Bearer {key}")] if key else [])
    status = await client.status()
    body = await client.body()
    client.close()
    return status, client.headers, body
