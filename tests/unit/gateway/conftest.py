"""A gateway with one enclave that does what the test says."""

import pytest
from tests.unit.gateway.doubles import Client, EnclaveDouble, Gateway


@pytest.fixture
async def enclave():
    async with EnclaveDouble().serve() as double:
        yield double


@pytest.fixture
async def gateway(tmp_path, enclave):
    made = Gateway(tmp_path, enclaves=(enclave.url,))
    made.api_key = made.key()
    async with made.serve():
        await made.ready()
        yield made


@pytest.fixture
async def connect(gateway):
    opened = []

    async def open_one(**options):
        client = await Client.connect(gateway.port, **options)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.close()
