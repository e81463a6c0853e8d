"""A gateway and enclaves in one object, behind an httpx2 transport.

The seal and the (simulated) evidence are the real ones; only processes, the network and
the model are missing. A test reaches in to make the gateway misbehave.

    stack = SealedStack()
    transport = EncryptedTransport(stack.url, verifier=stack.verifier, transport=stack.transport)
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.attest.platforms.simulated.collect import SimulatedCollector
from confide.attest.platforms.simulated.verify import SimulatedVerifier
from confide.crypto.xwing import PrivateKey
from confide.errors import ConfideError, SealingError
from confide.sealing.bhttp import InnerRequest
from confide.sealing.exchange import RequestOpener
from confide.sealing.padding import PaddingProfile
from confide.wire.directory import Directory, Replica
from confide.wire.key_config import KeyConfig
from confide.wire.key_document import KeyDocument
from confide.wire.media_types import CHUNKED_RESPONSE, DIRECTORY, EVIDENCE, PROBLEM
from confide.wire.problems import Problem, problem_for
from confide.wire.suites import KEM_XWING, XWING_SUITE

EPOCH = 1_800_000_000.0
MANIFEST = b'{"example":"manifest"}'
USAGE = "usage.statement"


class Clock:
    """Unix seconds that move only when told to."""

    def __init__(self, at: float = EPOCH) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@dataclass
class Inner:
    """What the double's model answers.

    `pieces` may be any iterable; an exception raised by it cuts the connection.
    """

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    pieces: Iterable[bytes] = (b"{}",)
    trailers: tuple[tuple[bytes, bytes], ...] = ((b"confide-usage", USAGE.encode()),)


def sse(*events: str) -> Inner:
    """An event stream, one piece per event."""
    return Inner(
        headers=((b"content-type", b"text/event-stream; charset=utf-8"),),
        pieces=[f"data: {event}\n\n".encode() for event in events],
    )


def delta(text: str) -> str:
    """One chunk of a streamed chat completion."""
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
        }
    )


def chat_model(request: InnerRequest) -> Inner:
    """Answer like a chat model that says "hello world"."""
    if request.path == "/v1/models":
        model = {"id": "m", "object": "model", "created": 1, "owned_by": "me"}
        return Inner(pieces=[json.dumps({"object": "list", "data": [model]}).encode()])
    asked = json.loads(request.body)
    if request.path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        answer = {"object": "list", "data": data, "model": "m", "usage": usage}
        return Inner(pieces=[json.dumps(answer).encode()])
    if asked.get("stream"):
        return sse(delta("hello"), delta(" world"), "[DONE]")
    message = {"role": "assistant", "content": "hello world"}
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return Inner(pieces=[json.dumps(completion).encode()])


class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body for blocking and asynchronous clients that notes when it is closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)
        self.sent = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.sent += 1
            yield piece

    async def __aiter__(self):
        for piece in self.pieces:
            self.sent += 1
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class EnclaveDouble:
    """One replica: a key, a document, evidence, and a model."""

    def __init__(
        self,
        *,
        key_id: int = 1,
        clock: Clock,
        root: Ed25519PrivateKey,
        profile: str = "off",
        lifetime_s: int = 86_400,
    ) -> None:
        self.clock, self.key_id, self.profile, self.lifetime_s = clock, key_id, profile, lifetime_s
        self.collector = SimulatedCollector(root)
        self.model: Callable[[InnerRequest], Inner] = chat_model
        self.requests: list[InnerRequest] = []
        self.restart()

    def restart(self) -> None:
        """New key, new document; the old key is gone."""
        self.key = PrivateKey.generate()
        self.document = KeyDocument.build(
            key_configs=[
                KeyConfig(
                    self.key_id,
                    KEM_XWING,
                    self.key.public_key,
                    ((XWING_SUITE.kdf_id, XWING_SUITE.aead_id),),
                )
            ],
            not_before=int(self.clock()) - 60,
            not_after=int(self.clock()) + self.lifetime_s,
            manifest_sha256=hashlib.sha256(MANIFEST).hexdigest(),
            boot_id=secrets.token_hex(16),
            usage_key=bytes(32),
            padding_profile=self.profile,
            tick_ms=0,
        )

    @property
    def replica(self) -> Replica:
        return Replica(self.document.raw, self.evidence(b""), MANIFEST)

    def evidence(self, nonce: bytes) -> bytes:
        return self.collector.collect(
            document=self.document.raw,
            client_nonce=nonce,
            manifest_sha256=hashlib.sha256(MANIFEST).digest(),
            now=self.clock(),
        )

    def answer(self, sealed: bytes) -> Iterator[bytes]:
        """Open a sealed request; yield the sealed answer. Raises before the first byte."""
        opener = RequestOpener(
            lambda key_id: self.key if key_id == self.key_id else None,
            profile=PaddingProfile.parse(self.profile, 0),
        )
        opener.feed(sealed)
        request, sealer = opener.finish()
        self.requests.append(request)
        inner = self.model(request)
        streamed = b"event-stream" in dict(inner.headers).get(b"content-type", b"")

        def pieces() -> Iterator[bytes]:
            yield sealer.head(inner.status, inner.headers, streamed=streamed)
            for piece in inner.pieces:
                yield sealer.body(piece)
            yield sealer.end(inner.trailers)

        return pieces()


@dataclass
class Refusal:
    """An answer the gateway gives instead of relaying."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": PROBLEM})

    @classmethod
    def of(cls, code: str, status: int, **members: object) -> Refusal:
        return cls(status, Problem.of(code, status, **members).encode())


class SealedStack:
    """A gateway in front of enclave doubles.

    Attributes:
        posts: Every sealed request as the gateway saw it.
        fetches: Path of every document that was asked for.
        refusals: Answers given to the next sealed requests, first to last, None relays.
        tamper: Applied to the pieces of every answer.
        before: Called with every request to the gateway; may raise.
    """

    url = "http://gateway.test"

    def __init__(self, *, replicas: int = 1, profile: str = "off") -> None:
        self.clock = Clock()
        self.root = Ed25519PrivateKey.generate()
        self.enclaves = [
            EnclaveDouble(key_id=n + 1, clock=self.clock, root=self.root, profile=profile)
            for n in range(replicas)
        ]
        self.posts: list[httpx2.Request] = []
        self.fetches: list[str] = []
        self.refusals: list[Refusal | Exception | None] = []
        self.tamper: Callable[[Iterable[bytes]], Iterable[bytes]] = lambda pieces: pieces
        self.before: Callable[[httpx2.Request], None] = lambda request: None
        self.answer_headers = {
            "content-type": CHUNKED_RESPONSE,
            "incremental": "?1",
            "confide-request-id": "01J9Z4T0V5",
        }
        self.streams: list[Stream] = []
        self.transport = httpx2.MockTransport(self.handle)

    @property
    def enclave(self) -> EnclaveDouble:
        return self.enclaves[0]

    @property
    def verifier(self) -> SimulatedVerifier:
        return SimulatedVerifier(
            self.root.public_key().public_bytes_raw(), i_understand_this_is_not_hardware=True
        )

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.before(request)
        path = request.url.path
        if request.method == "POST" and path == "/v1/sealed":
            return self._sealed(request)
        self.fetches.append(path)
        if path == "/.well-known/confide/keys":
            directory = Directory(tuple(e.replica for e in self.enclaves))
            return _answer(DIRECTORY, directory.encode())
        if match := re.fullmatch(r"/\.well-known/confide/evidence/([0-9a-f]{64})", path):
            return self._evidence(match[1], bytes.fromhex(request.url.params["nonce"]))
        return _refuse(Refusal.of("route-not-found", 404))

    def _evidence(self, digest: str, nonce: bytes) -> httpx2.Response:
        for enclave in self.enclaves:
            if enclave.document.sha256_hex == digest:
                return _answer(EVIDENCE, enclave.evidence(nonce))
        return _refuse(Refusal.of("route-not-found", 404))

    def _sealed(self, request: httpx2.Request) -> httpx2.Response:
        self.posts.append(request)
        refusal = self.refusals.pop(0) if self.refusals else None
        if isinstance(refusal, Exception):
            raise refusal
        if refusal is not None:
            return _refuse(refusal)
        named = request.headers["confide-document"]
        enclave = next((e for e in self.enclaves if e.document.sha256_hex == named), None)
        if enclave is None:
            return _refuse(Refusal.of("ohttp-key", 400))
        try:
            pieces = enclave.answer(request.content)
        except (SealingError, ConfideError) as error:
            problem = problem_for(error)
            return _refuse(Refusal(problem.status, problem.encode()))
        stream = Stream(self.tamper(pieces))
        self.streams.append(stream)
        return httpx2.Response(200, headers=self.answer_headers, stream=stream)


def _answer(media_type: str, body: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": media_type}, content=body)


def _refuse(refusal: Refusal) -> httpx2.Response:
    headers = {"confide-request-id": "01J9Z4T0V5", **refusal.headers}
    return httpx2.Response(refusal.status, headers=headers, content=refusal.body)
