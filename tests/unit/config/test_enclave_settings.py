"""An enclave's settings come from one measured file, and a mistake in it starts nothing."""

import hashlib

import pytest

from confide.config.enclave import MAXIMUM_FILE, EnclaveSettings
from confide.errors import ConfigError

KEY = "A" * 43
GOOD = f"""
[enclave]
gateway_public_key = "{KEY}"
[[backends]]
name = "main"
kind = "llamacpp"
model_path = "/models/m.gguf"
n_ctx = 2048
[[models]]
name = "m"
class = "small"
backends = ["main"]
"""


def parse(text):
    return EnclaveSettings.parse(text.encode(), source="enclave.toml")


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value


def test_defaults_are_the_documented_ones():
    settings = parse(GOOD)
    door = settings.enclave
    assert (door.host, door.port) == ("127.0.0.1", 8002)
    assert (door.key_lifetime_s, door.key_grace_s) == (86_400, 3_600)
    assert door.max_body == 32 * 1024 * 1024
    assert door.authorities == ("confide.invalid",)
    assert (settings.padding.profile, settings.padding.tick_ms) == ("bucket", 100)
    assert settings.enclave.grant_key == bytes(32)


def test_other_keys_of_a_backend_are_its_options():
    backend = parse(GOOD).backends[0]
    assert backend.options == {"model_path": "/models/m.gguf", "n_ctx": 2048}


def test_the_digest_is_of_the_exact_bytes(tmp_path):
    path = tmp_path / "enclave.toml"
    path.write_text(GOOD)
    settings, digest = EnclaveSettings.load(path, environment=())
    assert settings == parse(GOOD)
    assert digest == hashlib.sha256(GOOD.encode()).digest()
    path.write_text(GOOD + "# a comment\n")
    assert EnclaveSettings.load(path, environment=()).sha256 != digest


@pytest.mark.parametrize(
    "name", ["CONFIDE_ENCLAVE", "CONFIDE_ENCLAVE__PORT", "CONFIDE_ENCLAVE_PORT"]
)
def test_an_environment_that_tries_to_set_something_is_refused(tmp_path, name, monkeypatch):
    path = tmp_path / "enclave.toml"
    path.write_text(GOOD)
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError) as caught:
        EnclaveSettings.load(path)
    assert name in str(caught.value)


def test_other_environment_variables_do_not_matter(tmp_path, monkeypatch):
    path = tmp_path / "enclave.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("CONFIDE_HOME", "/elsewhere")
    assert EnclaveSettings.load(path).settings == parse(GOOD)


@pytest.mark.parametrize(
    ("line", "name", "hint"),
    [
        ("[padding]\nprofle = 'off'", "padding.profle", "did you mean profile?"),
        ("[paddin]\nprofile = 'off'", "paddin", "did you mean padding?"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest(line, name, hint):
    error = refusal(f"{GOOD}{line}")
    assert name in str(error)
    assert error.hint == hint


def test_an_unknown_key_of_the_door_and_of_a_model_is_named():
    error = refusal(GOOD.replace("[enclave]", "[enclave]\nkey_lifetime = 5"))
    assert "enclave.key_lifetime" in str(error)
    assert error.hint == "did you mean key_lifetime_s?"
    error = refusal(GOOD.replace("class =", "clas ="))
    assert "clas" in str(error)
    assert error.hint == "did you mean class?"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (KEY, "A" * 42),
        (KEY, "not base64!"),
        (f'gateway_public_key = "{KEY}"', ""),
        ("[enclave]", "[enclave]\nport = 70000"),
        ("[enclave]", '[enclave]\nport = "8002"'),
        ("[enclave]", "[enclave]\nkey_lifetime_s = 0"),
        ("[enclave]", "[enclave]\nkey_lifetime_s = 60"),
        ("[enclave]", "[enclave]\nauthorities = []"),
        ("[[models]]", "[padding]\nprofile = 'none'\n[[models]]"),
        ("[[models]]", "[padding]\nprofile = 'constant'\ntick_ms = 0\n[[models]]"),
        ('backends = ["main"]', 'backends = ["other"]'),
        ('backends = ["main"]', "backends = []"),
        ('class = "small"', 'class = "Small Model"'),
        ('kind = "llamacpp"', ""),
        ('name = "m"', 'name = ""'),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(old, new):
    assert old in GOOD
    assert "enclave.toml" in str(refusal(GOOD.replace(old, new, 1)))


def test_names_are_given_once():
    double = GOOD + '[[models]]\nname = "m"\nbackends = ["main"]\n'
    assert "'m' twice" in str(refusal(double))
    double = GOOD + '[[backends]]\nname = "main"\nkind = "echo"\n'
    assert "'main' twice" in str(refusal(double))


@pytest.mark.parametrize("missing", ["[[backends]]", "[[models]]", "[enclave]"])
def test_a_file_without_a_needed_table_is_refused(missing):
    start = GOOD.index(missing)
    end = GOOD.find("\n[", start + 1)
    assert refusal(GOOD[:start] + (GOOD[end:] if end > 0 else ""))


@pytest.mark.parametrize("raw", [b"= nonsense", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_refused(raw):
    with pytest.raises(ConfigError):
        EnclaveSettings.parse(raw, source="enclave.toml")


def test_a_file_that_is_too_long_or_missing_is_refused(tmp_path):
    path = tmp_path / "enclave.toml"
    with pytest.raises(ConfigError):
        EnclaveSettings.load(path, environment=())
    path.write_text(GOOD + "#" * MAXIMUM_FILE)
    with pytest.raises(ConfigError):
        EnclaveSettings.load(path, environment=())


def test_errors_do_not_quote_values():
    error = refusal(GOOD.replace(KEY, "my-secret-value"))
    assert "my-secret-value" not in str(error)


def test_a_settings_file_that_cannot_be_read_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError) as refusal:
        EnclaveSettings.load(tmp_path / "none.toml", environment=())
    assert refusal.value.hint
    (tmp_path / "long.toml").write_bytes(b"#" * (MAXIMUM_FILE + 1))
    with pytest.raises(ConfigError) as refusal:
        EnclaveSettings.load(tmp_path / "long.toml", environment=())
    assert refusal.value.hint


@pytest.mark.parametrize(
    "lines",
    [
        "gpus = 1",
        'platform = "tdx"\ngpus = -1',
        'platform = "tdx"\ngpus = 17',
        'platform = "tdx"\ngpus = 1\ngpu_mode = "MPT"',
        'platform = "tdx"\ngpus = 8\ngpu_mode = "PPCIE"',
    ],
)
def test_gpus_that_cannot_be_vouched_for_are_refused(lines):
    refusal(GOOD.replace("[enclave]", f"[enclave]\n{lines}", 1))
