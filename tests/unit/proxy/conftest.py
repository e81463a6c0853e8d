import httpx2
import pytest
from tests.doubles.sealed_stack import SealedStack

from confide.client import AsyncEncryptedTransport
from confide.proxy.app import build_app

PORT = 8000


@pytest.fixture
def stack():
    return SealedStack()


def proxy_for(stack, **options):
    transport = AsyncEncryptedTransport(
        stack.url,
        verifier=options.pop("verifier", stack.verifier),
        api_key=options.pop("api_key", None),
        transport=stack.transport,
        clock=stack.clock,
    )
    return build_app(transport, port=PORT, **options)


@pytest.fixture
def make_client(stack):
    """Build an httpx2 client that talks to a proxy over ASGI."""

    def make(headers=None, **options):
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=proxy_for(stack, **options)),
            base_url=f"http://127.0.0.1:{PORT}",
            headers={"authorization": "Bearer ck_test", **(headers or {})},
        )

    return make


@pytest.fixture
def app(stack):
    return proxy_for(stack)
