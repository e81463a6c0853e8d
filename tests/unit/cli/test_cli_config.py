"""`confide config` says what is set and who set it, and starts nothing."""

import json
import os

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, SecretStr

from confide.cli import config
from confide.errors import ConfigError


class Gateway(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = 8001
    pepper: SecretStr = SecretStr("marker")


class Proxy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway_url: str


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run `confide config` on a machine without settings, then with those that are given."""
    monkeypatch.setenv("CONFIDE_HOME", os.fspath(tmp_path))
    classes = {"gateway": Gateway, "proxy": Proxy}
    monkeypatch.setattr(config, "settings_class", classes.__getitem__)

    def invoke(*words, toml="", **environment):
        if toml:
            (tmp_path / "confide.toml").write_text(toml)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        found = CliRunner().invoke(config.config, list(words))
        if isinstance(found.exception, ConfigError):
            raise found.exception
        return found

    return invoke


def rows(found):
    return {row["setting"]: row for row in json.loads(found.stdout)}


def test_every_value_is_shown_with_its_origin(run):
    shown = rows(run("show", "gateway", "--json", CONFIDE_GATEWAY__PORT="9001"))
    assert shown["port"] == {
        "process": "gateway",
        "setting": "port",
        "value": 9001,
        "origin": "environment CONFIDE_GATEWAY__PORT",
    }


def test_secrets_are_not_shown(run):
    assert "marker" not in run("show", "gateway", CONFIDE_GATEWAY__PORT="1").output


def test_only_processes_with_settings_are_shown(run):
    found = run("show", "--json", toml='[proxy]\ngateway_url = "http://gateway"')
    assert set(rows(found)) == {"gateway_url"}
    assert "gateway: nothing is set here" in found.stderr


def test_a_required_setting_that_is_missing_is_named_with_two_ways_to_set_it(run):
    with pytest.raises(ConfigError) as refused:
        run("show", "proxy")
    assert "CONFIDE_PROXY__GATEWAY_URL" in refused.value.hint
    assert "[proxy]" in refused.value.hint


def test_check_counts_what_is_valid(run):
    found = run("check", CONFIDE_GATEWAY__PORT="9001")
    assert found.exit_code == 0
    assert "valid" in found.stdout


@pytest.mark.parametrize(
    ("name", "value"), [("CONFIDE_GATEWAY__PROT", "1"), ("CONFIDE_GATEWAY__PORT", "many")]
)
def test_check_refuses_a_bad_name_and_a_bad_value(run, name, value):
    with pytest.raises(ConfigError):
        run("check", **{name: value})


def test_check_refuses_a_name_of_a_process_that_has_nothing_else_set(run):
    with pytest.raises(ConfigError):
        run("check", CONFIDE_PROXY__GATEWAY_URK="http://gateway")


def test_the_enclaves_file_is_shown_with_its_digest(run, tmp_path):
    path = tmp_path / "enclave.toml"
    path.write_text(
        f'[enclave]\ngateway_public_key = "{"A" * 43}"\n'
        '[[backends]]\nname = "demo"\nkind = "echo"\n'
        '[[models]]\nname = "demo-tiny"\nclass = "small"\nbackends = ["demo"]\n'
    )
    shown = rows(run("show", "--enclave", os.fspath(path), "--json"))
    assert shown["backends.0.kind"]["value"] == "echo"
    assert "sha256" in shown["padding.profile"]["origin"]
