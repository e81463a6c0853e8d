"""Each value comes from the strongest source, and a name that nobody reads is refused."""

import os

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from confide.config.sources import (
    PLAIN_NAMES,
    check_names,
    config_file,
    flatten,
    home_directory,
    read_file,
    resolve,
)
from confide.errors import ConfigError


class Limits(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: int = Field(60, gt=0)
    streams: int = 4


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    enclaves: tuple[str, ...] = ()
    pepper: SecretStr | None = None
    limits: Limits = Limits()


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "confide.toml"
        path.write_text(text)
        return path

    return write


def settle(path=None, environment=None, **flags):
    return resolve(Settings, "gateway", flags=flags, environment=environment or {}, path=path)


@pytest.fixture(autouse=True)
def _no_file_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_data_path", lambda _: tmp_path / "nowhere")


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(toml):
    path = toml('[gateway]\nhost = "file"\n[gateway.limits]\nstreams = 2\nrequests_per_minute = 2')
    found = settle(
        path,
        {"CONFIDE_GATEWAY__HOST": "env", "CONFIDE_GATEWAY__LIMITS__STREAMS": "3"},
        host="flag",
    )
    assert found.settings == Settings(host="flag", limits=Limits(streams=3, requests_per_minute=2))
    assert found.origins == {
        "host": "flag",
        "limits.streams": "environment CONFIDE_GATEWAY__LIMITS__STREAMS",
        "limits.requests_per_minute": f"file {path}",
        "enclaves": "default",
        "pepper": "default",
    }


def test_a_flag_that_was_not_given_changes_nothing():
    assert settle(host=None).origins["host"] == "default"


@pytest.mark.parametrize("text", ["http://a, http://b", '["http://a", "http://b"]'])
def test_a_list_in_the_environment_is_json_or_separated_by_commas(text):
    found = settle(environment={"CONFIDE_GATEWAY__ENCLAVES": text})
    assert found.settings.enclaves == ("http://a", "http://b")


def test_a_list_that_is_broken_json_is_refused():
    with pytest.raises(ConfigError):
        settle(environment={"CONFIDE_GATEWAY__ENCLAVES": '["a'})


def test_a_misspelt_environment_name_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as refused:
        settle(environment={"CONFIDE_GATEWAY__LIMITS__REQUEST_PER_MINUTE": "5"})
    assert "CONFIDE_GATEWAY__LIMITS__REQUESTS_PER_MINUTE" in refused.value.hint


def test_a_name_of_no_process_is_refused():
    with pytest.raises(ConfigError):
        settle(environment={"CONFIDE_GATWAY__HOST": "x"})


def test_names_of_other_processes_and_plain_names_pass():
    names = dict.fromkeys(PLAIN_NAMES, "x") | {"CONFIDE_PROXY__PORT": "1", "HOME": "/"}
    check_names(names, {"gateway": Settings})


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_key(toml):
    with pytest.raises(ConfigError) as refused:
        settle(toml('[gateway]\nhots = "x"'))
    assert refused.value.hint == "did you mean host?"


@pytest.mark.parametrize(
    "text",
    ['[gatway]\nhost = "x"', "gateway = 3", "[gateway", "\xff"],
    ids=["unknown table", "value at top level", "not TOML", "latin-1"],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path, text):
    path = tmp_path / "confide.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        read_file(path)


def test_a_file_of_more_than_one_mebibyte_is_refused(toml):
    with pytest.raises(ConfigError):
        read_file(toml("#" * (1024 * 1024 + 1)))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        read_file(tmp_path / "none.toml")


def test_a_bad_value_is_refused_with_its_origin_and_without_the_value(toml):
    path = toml("[gateway]\npepper = 7777777")
    with pytest.raises(ConfigError) as refused:
        settle(path)
    assert str(path) in str(refused.value)
    assert "7777777" not in str(refused.value)


def test_a_value_where_a_table_belongs_is_refused(toml):
    with pytest.raises(ConfigError):
        settle(toml("[gateway]\nlimits = 3"), {"CONFIDE_GATEWAY__LIMITS__STREAMS": "3"})


def test_secrets_are_asterisks_when_shown():
    shown = flatten(Settings(pepper=SecretStr("marker")))
    assert "marker" not in repr(shown)
    assert shown["pepper"]


def test_the_data_directory_can_be_chosen(tmp_path):
    assert home_directory({"CONFIDE_HOME": os.fspath(tmp_path)}) == tmp_path


def test_the_settings_file_is_in_the_data_directory_unless_named(tmp_path):
    environment = {"CONFIDE_HOME": os.fspath(tmp_path)}
    assert config_file(environment) is None
    (tmp_path / "confide.toml").write_text("")
    assert config_file(environment) == tmp_path / "confide.toml"
    other = tmp_path / "other.toml"
    with pytest.raises(ConfigError):
        config_file(environment | {"CONFIDE_CONFIG": os.fspath(other)})
    other.write_text("")
    assert config_file(environment | {"CONFIDE_CONFIG": os.fspath(other)}) == other


def test_lists_of_tables_are_numbered_and_their_secrets_masked():
    class Backend(BaseModel):
        model_config = ConfigDict(extra="allow")

        name: str

    class Many(BaseModel):
        backends: tuple[Backend, ...]

    backends = [{"name": "a", "api_key": "marker"}, {"name": "b"}]
    assert flatten(Many.model_validate({"backends": backends})) == {
        "backends.0.name": "a",
        "backends.0.api_key": "**********",
        "backends.1.name": "b",
    }
