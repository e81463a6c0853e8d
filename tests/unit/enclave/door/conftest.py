"""Fixtures of the enclave's door."""

import pytest
from tests.unit.enclave.door.door_bench import Bench


@pytest.fixture
async def bench(tmp_path):
    """A running enclave without padding, so that tests are fast."""
    async with Bench(tmp_path) as running:
        yield running


@pytest.fixture
def make_bench(tmp_path):
    """Makes an enclave with other settings; use it with `async with`."""
    return lambda **settings: Bench(tmp_path, **settings)
