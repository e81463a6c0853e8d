"""The service files parse, and start commands that exist with settings that exist."""

import configparser
import plistlib
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from confide.cli.main import cli
from confide.config.proxy import ProxySettings
from confide.config.sources import SHORT_NAMES, environment_names

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy/systemd/confidential-proxy.service"
AGENT = ROOT / "deploy/launchd/confidential-proxy.plist"
KNOWN = environment_names(ProxySettings, "proxy").keys() | SHORT_NAMES["proxy"].keys()
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def unit():
    parser = configparser.ConfigParser(strict=True, interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser


def check_command(words):
    program, *rest = words
    assert Path(program).name in SCRIPTS
    context = click.Context(cli)
    command = cli.get_command(context, "proxy")
    if rest and not rest[0].startswith("-"):
        command = command.get_command(context, rest.pop(0))
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options


def test_the_systemd_unit_starts_the_proxy_in_the_foreground():
    service = unit()["Service"]
    check_command(service["ExecStart"].split())
    assert service["Type"] == "exec"
    assert "start" not in service["ExecStart"].split()


def test_the_unit_gives_answers_longer_to_finish_than_the_proxy_does():
    agreed = ProxySettings(gateway_url="http://gateway.test").shutdown_timeout_s
    assert int(unit()["Service"]["TimeoutStopSec"]) > agreed
    with AGENT.open("rb") as file:
        assert plistlib.load(file)["ExitTimeOut"] > agreed


def test_the_unit_keeps_secrets_to_the_user_and_the_process_small():
    service = unit()["Service"]
    assert service["UMask"] == "0077"
    assert service["LimitCORE"] == "0"
    assert service["NoNewPrivileges"] == "yes"


def test_every_variable_that_the_files_name_is_a_setting():
    named = set(re.findall(r"\b([A-Z_]{4,})=", UNIT.read_text()))
    with AGENT.open("rb") as file:
        named |= plistlib.load(file)["EnvironmentVariables"].keys()
    assert named
    assert named <= KNOWN


def test_the_launchd_agent_starts_the_proxy_in_the_foreground():
    with AGENT.open("rb") as file:
        agent = plistlib.load(file)
    check_command(agent["ProgramArguments"])
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Umask"] == 0o077


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="no systemd here: apt-get install systemd, make test",
)
def test_systemd_itself_finds_nothing_wrong(tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("%h/.local/bin/confidential-proxy", "/bin/true"))
    found = subprocess.run(
        ["systemd-analyze", "--user", "verify", copy],
        capture_output=True,
        text=True,
        timeout=30,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert UNIT.name not in found.stderr, found.stderr
