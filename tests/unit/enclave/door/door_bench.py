"""A whole enclave in one process, a gateway's signing key, and a peer on bare ASGI."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.apps.enclave import Measurement, build_enclave, measure
from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.crypto.hpke import setup_sender
from confide.enclave.inference.backends.echo import EchoBackend
from confide.sealing.exchange import (
    InnerRequest,
    ResponseBody,
    ResponseEnd,
    ResponseHead,
    ResponseOpener,
    SealedRequest,
    seal_request,
)
from confide.sealing.ohttp import request_info
from confide.wire.envelope import RequestHeader
from confide.wire.grants import ALGORITHM, GRANT_TYPE, USAGE_TOKEN_TYPE, Grant, usage_token_claims
from confide.wire.problems import Problem
from confide.wire.usage import SignedStatement, UsageStatement

START = 1_790_000_000.0
GATEWAY = object()
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "the quick brown fox"}]


class Clock:
    """Unix time that stands until it is moved."""

    def __init__(self, at=START):
        self.at = at

    def __call__(self):
        return self.at


def b64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def settings_toml(gateway_key, *, padding='profile = "off"\ntick_ms = 0', door="", models=""):
    public = b64url(gateway_key.public_key().public_bytes_raw())
    return f"""
[enclave]
gateway_public_key = "{public}"
{door}
[padding]
{padding}
[[backends]]
name = "main"
kind = "echo"
[[models]]
name = "echo"
class = "small"
backends = ["main"]
[[models]]
name = "second"
backends = ["main"]
{models}
"""


@dataclass
class Received:
    """What a peer got: a problem document, or the opened answer."""

    status: int
    headers: dict
    raw: bytes
    events: list = field(default_factory=list)

    @property
    def problem(self):
        assert self.headers[b"content-type"] == b"application/problem+json"
        return Problem.parse(self.raw)

    @property
    def head(self):
        return next(e for e in self.events if isinstance(e, ResponseHead))

    @property
    def body(self):
        return b"".join(e.content for e in self.events if isinstance(e, ResponseBody))

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def trailers(self):
        return dict(next(e for e in self.events if isinstance(e, ResponseEnd)).trailers)

    @property
    def usage(self):
        signed = SignedStatement.parse(self.trailers[b"confide-usage"].decode())
        return UsageStatement.parse(signed.statement)


class Peer:
    """One HTTP request on ASGI, whose peer may leave when told."""

    def __init__(self, app, method, path, headers, pieces=(), query=b"", slow=False):
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query,
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8002),
        }
        self.incoming = asyncio.Queue()
        pieces = list(pieces) or [b""]
        for number, piece in enumerate(pieces):
            more = number + 1 < len(pieces)
            self.incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        self.status, self.headers, self.chunks = None, {}, []
        self.reading = asyncio.Event()
        if not slow:
            self.reading.set()
        self.complete = False
        self.task = asyncio.ensure_future(app(self.scope, self.receive, self.send))

    async def receive(self):
        return await self.incoming.get()

    def leave(self):
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        if message.get("body"):
            self.chunks.append(message["body"])
            if len(self.chunks) > 1:  # a slow peer takes the head
                await self.reading.wait()
        self.complete = not message.get("more_body", False)
        if self.complete:
            self.leave()  # as servers do

    async def result(self):
        await asyncio.wait_for(self.task, 20)
        return Received(self.status, self.headers, b"".join(self.chunks))


class Bench:
    """A running enclave and everything a test needs to talk to it."""

    def __init__(self, folder: Path, **settings):
        self.clock = Clock()
        self.gateway_key = Ed25519PrivateKey.generate()
        self.root = Ed25519PrivateKey.generate()
        self.folder = folder
        self.echo_options = settings.pop("echo", {})
        self.backend = None
        self.numbers = iter(range(1, 10_000))
        path = folder / "enclave.toml"
        path.write_text(settings_toml(self.gateway_key, **settings))
        self.measurement: Measurement = measure(path)
        self.boot()

    def boot(self, **changes):
        """(Re)start: new keys, new ledger, the same settings."""
        self.backend = self.echo_options.pop("instance", None) or EchoBackend(
            "main", self.echo_options
        )
        self.app = build_enclave(
            self.measurement,
            collector=changes.get("collector") or SimulatedCollector(self.root),
            now=self.clock,
            backends={"main": self.backend},
        )
        self.parts = self.app._parts
        self.keyring = self.parts.keyring

    async def __aenter__(self):
        await self.parts.router.start()
        return self

    async def __aexit__(self, *_):
        await self.parts.router.stop()

    def grant(self, digest, request_id, **changes):
        base = Grant.issue(
            domain="acme",
            key_id="key-1",
            models=("*",),
            operations=("chat", "completions", "embeddings", "models"),
            request_id=request_id,
            envelope_digest=digest,
            usage="exact",
            now=self.clock(),
        )
        return replace(base, **changes)

    def sign(self, claims, *, key=GATEWAY, typ=GRANT_TYPE, algorithm=ALGORITHM):
        key = self.gateway_key if key is GATEWAY else key
        return jwt.encode(claims, key, algorithm, headers={"typ": typ})

    def inner(self, body=None, *, method="POST", path=CHAT, raw=None, **changes):
        """An inner request; `changes` replace headers (None removes) or control data."""
        document = changes.pop("document", self.keyring.current.sha256_hex)
        date = changes.pop("date", formatdate(self.clock(), usegmt=True))
        control = {"scheme": "https", "authority": "confide.invalid", **changes}
        headers = [
            (b"content-type", b"application/json"),
            *([(b"date", date.encode())] if date is not None else []),
            *([(b"confide-document", document.encode())] if document is not None else []),
            *control.pop("headers", ()),
        ]
        content = raw if raw is not None else json.dumps(body).encode() if body else b""
        return InnerRequest(
            method=method, path=path, headers=tuple(headers), body=content, **control
        )

    def seal(self, inner, *, document=None, pad_to=lambda n: n):
        document = document or self.keyring.current
        return seal_request(document.key_configs[0], inner, pad_to=pad_to)

    def seal_raw(self, message):
        """Seal bytes that need not be a request."""
        key_config = self.keyring.current.key_configs[0]
        suite = key_config.choose_suite()
        header = RequestHeader(key_config.key_id, suite.kem_id, suite.kdf_id, suite.aead_id)
        info = request_info(header.encode(), chunked=True)
        enc, context = setup_sender(suite, key_config.public_key, info)
        opener = ResponseOpener(context, enc)
        return SealedRequest(header.encode() + enc, context.into_chunks(), message), opener

    def post(self, sealed, **changes):
        """Send sealed bytes; `changes` are grant claims, or outer headers by name."""
        request_id = changes.pop("request_id", f"r{next(self.numbers)}")
        pieces = changes.pop("pieces", None)
        outer = {
            "content-type": "message/ohttp-chunked-req",
            "confide-request-id": request_id,
            "incremental": "?1",
        }
        token = changes.pop("token", "")
        if token is not None and not token:
            claims = self.grant(sealed.envelope_digest, request_id, **changes.pop("grant", {}))
            token = self.sign(claims.to_claims())
        if token:
            outer["confide-grant"] = token
        outer.update(changes.pop("outer", {}))
        headers = [(k, v) for k, v in outer.items() if v is not None]
        headers += changes.pop("more_headers", [])
        slow = changes.pop("slow", False)
        assert not changes
        pieces = pieces if pieces is not None else list(sealed.chunks())
        return Peer(self.app, "POST", "/v1/sealed", headers, pieces, slow=slow)

    async def ask(self, body=None, *, inner=None, **post):
        """Seal, send, and open the answer."""
        path = post.pop("path", CHAT)
        method = post.pop("method", "POST")
        raw = post.pop("raw", None)
        inner = inner or self.inner(body, path=path, method=method, raw=raw)
        sealed, opener = self.seal(inner, document=post.pop("document", None))
        received = await self.post(sealed, **post).result()
        return opened(received, opener)

    async def get(self, path, query="", headers=()):
        return await Peer(
            self.app, "GET", path, [("host", "x"), *headers], query=query.encode()
        ).result()

    def usage_token(self, **changes):
        claims = {**usage_token_claims(self.clock()), **changes}
        return f"Bearer {self.sign(claims, typ=USAGE_TOKEN_TYPE)}"


def opened(received, opener):
    """Open a sealed answer to its end; a problem document stays as it is."""
    if received.status == 200:
        received.events = opener.feed(received.raw) + opener.finish()
    return received
