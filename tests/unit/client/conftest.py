"""Fixtures of the key store's tests."""

import keyring
import pytest
from tests.unit.client.keystore_bench import MemoryKeyring

from confide.client.keystore import passphrase


@pytest.fixture
def memory_keyring():
    """A keyring that lives for one test."""
    before = keyring.get_keyring()
    keyring.set_keyring(MemoryKeyring())
    yield keyring.get_keyring()
    keyring.set_keyring(before)


@pytest.fixture
def cheap(monkeypatch):
    """New stores cost the least that is accepted when read."""
    monkeypatch.setattr(passphrase, "DEFAULT", passphrase.FLOOR)
