"""What a gateway needs is made once, for its owner only, and never replaced."""

import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.gateway.doubles import Gateway

from confide.errors import ConfigError
from confide.gateway.setup import open_state, prepare


@pytest.fixture
def settings(tmp_path):
    return Gateway(tmp_path / "state").settings


def test_a_second_time_finds_the_same_keys(settings):
    first, second = prepare(settings), open_state(settings)
    assert first.pepper == second.pepper
    assert first.grant_public_key == second.grant_public_key
    assert len(first.pepper) == 32


def test_only_the_owner_can_read_the_keys(settings):
    for path in (settings.grant_key_file, settings.pepper_file, settings.database):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_are_not_printed(settings):
    state = prepare(settings)
    assert state.pepper.hex() not in repr(state)
    assert repr(state.pepper) not in repr(state)
    assert "Ed25519" not in repr(state)


@pytest.mark.parametrize("name", ["grant_key_file", "pepper_file"])
@pytest.mark.parametrize("start", [prepare, open_state])
def test_a_lost_key_is_not_replaced_in_silence(settings, name, start):
    getattr(settings, name).unlink()
    with pytest.raises(ConfigError):
        start(settings)
    assert not getattr(settings, name).exists()


@pytest.mark.parametrize("name", ["grant_key_file", "pepper_file"])
def test_a_key_that_everybody_can_read_is_refused(settings, name):
    getattr(settings, name).chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        open_state(settings)
    assert refused.value.hint.startswith("chmod 600")


@pytest.mark.parametrize("content", [b"", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64])
def test_a_pepper_that_is_not_32_bytes_is_refused(settings, content):
    settings.pepper_file.write_bytes(content)
    with pytest.raises(ConfigError):
        open_state(settings)


def rsa_key():
    made = rsa.generate_private_key(65537, 2048)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("content", [b"", b"not pem", rsa_key()])
def test_a_grant_key_that_is_not_ed25519_is_refused(settings, content):
    settings.grant_key_file.write_bytes(content)
    with pytest.raises(ConfigError):
        open_state(settings)
