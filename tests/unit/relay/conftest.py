"""A relay mounted in a Starlette application under uvicorn, and a gateway of raw sockets."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.unit.gateway.doubles import Client, EnclaveDouble, until

from confide.relay import Relay
from confide.wire.media_types import DIRECTORY, EVIDENCE

KEY = "ck_of_the_server"
TOKEN = "token-of-ada"


class GatewayDouble(EnclaveDouble):
    """Does what a test says; `kind` and `status` are those of the public documents."""

    def __init__(self):
        super().__init__()
        self.looked_up = []
        self.status, self.kind = 200, None

    async def _plain(self, request):
        self.looked_up.append(request)
        keys = request.target.endswith("/keys")
        kind = self.kind or (DIRECTORY if keys else EVIDENCE)
        # The media type comes with two headers that must not go on.
        kind = kind.encode() + b"\r\nset-cookie: a=b\r\naccess-control-allow-origin: *"
        await self.reply(request, self.status, b'{"of": "the gateway"}', kind=kind)


def of_ada(scope):
    """Admits one user."""
    return dict(scope["headers"]).get(b"authorization") == f"Bearer {TOKEN}".encode()


class Mounted:
    """The relay, and raw connections to it."""

    def __init__(self, relay, port):
        self.relay, self.port = relay, port
        self.opened = []

    async def connect(self):
        client = await Client.connect(self.port)
        self.opened.append(client)
        return client

    async def post(self, body, *, token=TOKEN, **options):
        client = await self.connect()
        headers = [("authorization", f"Bearer {token}")]
        kind = options.pop("kind", "message/ohttp-chunked-req")
        headers += [("content-type", kind), *options.pop("extra", ())]
        headers.append(("content-length", options.pop("length", len(body))))
        client.head("POST", "/confide/v1/sealed", headers)
        client.writer.write(body)
        return client

    async def get(self, target, *headers, method="GET"):
        client = await self.connect()
        client.head(method, f"/confide{target}", list(headers))
        await client.writer.drain()
        return client


@asynccontextmanager
async def mounted(gateway_url, **options):
    relay = Relay(gateway_url, **{"api_key": KEY, "authorize": of_ada, **options})
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Starlette(routes=[Mount("/confide", relay)]), log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server._serve([listener]))
    await until(lambda: server.started)
    running = Mounted(relay, listener.getsockname()[1])
    try:
        yield running
    finally:
        for client in running.opened:
            client.close()
        server.should_exit = True
        await serving
        relay.close()
        listener.close()


@pytest.fixture
async def gateway():
    async with GatewayDouble().serve() as double:
        yield double


@pytest.fixture
async def relay(gateway):
    async with mounted(gateway.url) as running:
        yield running
