"""Requests, routers and engines for the tests of the inference package."""

import json
from types import MappingProxyType

from confide.enclave.inference import CatalogEntry, Operation, Router, RouterSettings
from confide.enclave.inference.backend import BackendRequest
from confide.enclave.inference.backends.echo import EchoBackend
from confide.enclave.inference.events import EventSplitter, event_json

ISOLATION = bytes(range(32))


class Clock:
    """Seconds that move when told."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def messages(text="hello brave world"):
    return [{"role": "user", "content": text}]


def chat_request(model="m", *, stream=False, operation=Operation.CHAT, **fields):
    """A request as a backend gets it."""
    if operation is Operation.CHAT:
        fields = {"messages": messages(), **fields}
    if stream:
        fields["stream"] = True
    fields = {"model": model, **fields}
    raw = json.dumps(fields).encode()
    return BackendRequest(operation, model, raw, MappingProxyType(fields), stream, ISOLATION)


def echo(name="echo", **options):
    return EchoBackend(name, options)


def router_of(*backends, clock, entries=None, **settings):
    names = tuple(backend.name for backend in backends)
    return Router(
        entries or [CatalogEntry("m", names)],
        {backend.name: backend for backend in backends},
        clock,
        settings=RouterSettings(**settings),
        monotonic=clock,
    )


async def route(router, *, model="m", raw=None, operation=Operation.CHAT, **fields):
    """Route one request."""
    if operation is Operation.CHAT:
        fields = {"messages": messages(), **fields}
    fields = json.loads(raw) if raw is not None else {"model": model, **fields}
    body = raw if raw is not None else json.dumps(fields).encode()
    stream = fields.get("stream") is True
    return await router.route(operation, model, body, fields, stream, ISOLATION)


async def read(answer):
    """The whole body."""
    return b"".join([piece async for piece in answer.body])


def chunks_of(stream):
    """The JSON objects of a stream."""
    events = EventSplitter().feed(stream)
    return [chunk for chunk in map(event_json, events) if chunk is not None]


def text_of(stream):
    """The text of a stream's first choice."""
    found = ""
    for chunk in chunks_of(stream):
        for choice in chunk.get("choices", ()):
            found += choice.get("delta", {}).get("content") or choice.get("text") or ""
    return found


def finish_of(stream):
    """The finish reason of a stream."""
    reasons = [
        choice["finish_reason"]
        for chunk in chunks_of(stream)
        for choice in chunk.get("choices", ())
        if choice["finish_reason"]
    ]
    assert len(reasons) == 1
    return reasons[0]
