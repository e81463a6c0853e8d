"""Fixtures for the tests of the inference package."""

import pytest
from tests.unit.enclave.inference.inference_bench import Clock


@pytest.fixture
def clock():
    return Clock()
