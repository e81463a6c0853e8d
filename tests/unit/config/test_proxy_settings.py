"""The proxy is configured by the documented names, and an option wins."""

import pytest

from confide.cli.config import settings_class
from confide.config.proxy import LEVELS, ProxySettings
from confide.config.sources import SHORT_NAMES, flatten, is_configured, resolve
from confide.errors import ConfigError

KEK = "00" * 32


@pytest.fixture(autouse=True)
def _no_file_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_data_path", lambda _: tmp_path / "nowhere")


def settle(flags=None, path=None, **environment):
    given = {"gateway_url": "http://gateway.test", **(flags or {})}
    return resolve(ProxySettings, "proxy", flags=given, environment=environment, path=path)


@pytest.mark.parametrize(
    ("name", "text", "setting", "value"),
    [
        ("ENCLAVE_URL", "https://enclave.test", "enclave_url", "https://enclave.test"),
        ("CLIENT_KEK", KEK, "client_kek", "**********"),
        ("JSON_BODY_LIMIT", "1mb", "json_body_limit", 1024**2),
        ("HOST", "127.0.0.2", "host", "127.0.0.2"),
        ("PORT", "9000", "port", 9000),
        ("CONFIDENTIAL_PROXY_LOG_LEVEL", "silly", "log_level", "debug"),
    ],
)
def test_a_documented_name_is_read_and_named_as_the_origin(name, text, setting, value):
    found = settle(**{name: text})
    assert flatten(found.settings)[setting] == value
    assert found.origins[setting] == f"environment {name}"


def test_the_gateway_is_proxy_url():
    found = resolve(ProxySettings, "proxy", environment={"PROXY_URL": "http://a.test"})
    assert found.settings.gateway_url == "http://a.test"
    assert found.origins["gateway_url"] == "environment PROXY_URL"


def test_every_short_name_is_a_setting():
    for short, setting in SHORT_NAMES["proxy"].items():
        assert setting in settings_class("proxy").model_fields, short


def test_a_flag_beats_the_full_name_which_beats_the_short_one_which_beats_the_file(tmp_path):
    path = tmp_path / "confide.toml"
    path.write_text("[proxy]\nport = 1")
    assert settle(path=path).settings.port == 1
    assert settle(path=path, PORT="2").settings.port == 2
    full = {"PORT": "2", "CONFIDE_PROXY__PORT": "3"}
    assert settle(path=path, **full).origins["port"] == "environment CONFIDE_PROXY__PORT"
    assert settle({"port": 4}, path, **full).settings.port == 4


def test_an_empty_short_name_counts_as_not_set():
    assert settle(PORT="").origins["port"] == "default"


def test_short_names_are_not_read_by_other_processes():
    from confide.config.gateway import GatewaySettings

    assert resolve(GatewaySettings, "gateway", environment={"PORT": "7"}).settings.port != 7


def test_names_that_many_programs_set_do_not_make_a_proxy(tmp_path):
    path = tmp_path / "confide.toml"
    path.write_text("")
    assert not is_configured("proxy", ["HOST", "PORT"], path)
    assert is_configured("proxy", ["PROXY_URL"], path)


def test_a_bad_size_is_refused_in_plain_words():
    with pytest.raises(ConfigError) as caught:
        settle(JSON_BODY_LIMIT="32mib")
    assert "environment JSON_BODY_LIMIT" in str(caught.value)
    assert "alue error" not in str(caught.value)


@pytest.mark.parametrize(("written", "level"), LEVELS.items())
def test_every_documented_level_is_one_of_ours(written, level):
    assert settle(CONFIDENTIAL_PROXY_LOG_LEVEL=written.upper()).settings.log_level == level


def test_another_level_is_refused_with_its_origin():
    with pytest.raises(ConfigError) as caught:
        settle(CONFIDENTIAL_PROXY_LOG_LEVEL="loud")
    assert "CONFIDENTIAL_PROXY_LOG_LEVEL" in str(caught.value)
    assert all(level in str(caught.value) for level in LEVELS)


def test_a_bad_kek_or_key_is_never_quoted():
    with pytest.raises(ConfigError) as caught:
        settle({"api_key_file": "a", "port": "x"}, CONFIDE_PROXY__API_KEY="marker", CLIENT_KEK=KEK)
    assert "marker" not in str(caught.value)
    assert KEK not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"enclave_url": "https://enclave.test"},
        {"gateway_url": "http://a.test", "endpoints_url": "https://b.test"},
        {"enclave_url": "http://a.test", "endpoints_url": "https://b.test"},
        {"gateway_url": "http://a.test", "api_key": "k", "api_key_file": "f"},
    ],
    ids=["no gateway", "an enclave alone", "two sources", "two sources too", "two keys"],
)
def test_settings_that_contradict_or_lack_something_are_refused(values):
    with pytest.raises(ConfigError) as caught:
        resolve(ProxySettings, "proxy", flags=values, environment={})
    assert "Value error" not in str(caught.value)


def test_a_misspelt_name_of_ours_is_refused():
    with pytest.raises(ConfigError):
        settle(CONFIDE_PROXY__ENCLAVE_URI="x")
