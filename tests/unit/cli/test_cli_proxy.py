"""`confide proxy` and its short names: options, keys, launchers."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.policies import example_policy

from confide.cli import proxy_exec
from confide.cli.main import cli
from confide.cli.proxy_options import Given
from confide.daemon import Presence
from confide.errors import ConfigError

SECRET = "ck_0123456789abcdefMARKER"


@pytest.fixture(autouse=True)
def _own_home(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("CONFIDE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CONFIDE_HOME", str(tmp_path / "home"))


def call(*words, standard_input=None):
    return CliRunner().invoke(cli, ["proxy", *words], input=standard_input)


@pytest.mark.parametrize("option", ["--api-key", "--api-key-file", "--client-kek-file"])
def test_a_secret_as_an_option_value_is_refused_and_not_repeated(option):
    found = call("run", option, SECRET)
    assert found.exit_code == 2
    assert "MARKER" not in found.output
    assert option.split("-file")[0] in found.output


def test_a_key_from_standard_input_reaches_the_environment_and_no_command_line(monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\n"))
    given = Given({"key_file": Path("-"), "gateway": "http://gateway.test"})
    assert given.any
    assert given.settings().api_key.get_secret_value() == SECRET
    assert SECRET not in " ".join(given.words())
    assert given.words() == ["--gateway", "http://gateway.test"]
    assert given.environment({"A": "1"}) == {"A": "1", "CONFIDE_PROXY__API_KEY": SECRET}


def test_an_empty_standard_input_is_no_key(monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(ConfigError):
        Given({"key_file": Path("-")})


def test_options_become_settings_in_their_units(tmp_path):
    kek = tmp_path / "kek"
    kek.write_text("00" * 32 + "\n")
    given = Given(
        {
            "gateway": "http://gateway.test",
            "shutdown_timeout": 1500,
            "log_level": "http",
            "wrapping_key_file": kek,
            "port": 0,
        }
    )
    settings = given.settings()
    assert settings.shutdown_timeout_s == 1.5
    assert settings.log_level == "info"
    assert settings.client_kek.get_secret_value().strip() == "00" * 32
    words = given.words(port=7)
    assert words[words.index("--port") + 1] == "7"
    assert words[words.index("--shutdown-timeout") + 1] == "1500"


def test_a_kek_file_that_is_not_text_is_refused(tmp_path):
    kek = tmp_path / "kek"
    kek.write_bytes(b"\xff" * 32)
    with pytest.raises(ConfigError):
        Given({"gateway": "http://gateway.test", "wrapping_key_file": kek}).settings()


def test_options_before_a_command_are_refused_instead_of_ignored():
    found = call("--port", "1", "status")
    assert found.exit_code == 2
    assert "status" in found.output


def test_wrong_settings_are_refused_before_a_process_is_started(tmp_path):
    found = call("start", "--port", "1")
    assert isinstance(found.exception, ConfigError)
    assert not (tmp_path / "home").exists()


def test_status_of_nothing_is_stopped_and_exits_with_one(tmp_path):
    found = call("status", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout) == {
        "state": "stopped",
        "reachable": False,
        "pid_file": str(tmp_path / "home" / "proxy.pid"),
    }


def test_stop_of_nothing_is_no_error():
    assert call("stop").exit_code == 0


@pytest.mark.parametrize("command", ["stop", "status"])
def test_the_options_of_start_are_taken_by_every_command_of_the_daemon(command):
    params = cli.commands["proxy"].commands["start"].params
    options = sorted({name for param in params for name in param.opts} - {"--help", "-h"})
    words = [word for name in options for word in (name, "1")]
    found = call(command, *words)
    assert found.exit_code == (0 if command == "stop" else 1), found.output
    assert call(command, "--odd").exit_code == 2


def test_the_log_prints_the_last_lines_without_control_characters(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(9)) + "\x1b[2J\n")
    found = call("log", "--log-file", str(log), "-n", "2")
    assert found.stdout == "line 8\n\\x1b[2J\n"


def test_the_log_of_an_earlier_proxy_is_not_shown_for_one_that_writes_none(tmp_path):
    old = tmp_path / "home" / "logs" / "confidential-proxy.log"
    old.parent.mkdir(parents=True)
    old.write_text("old\n")
    presence = Presence.claim(tmp_path / "home" / "proxy.pid", log_file=None)
    try:
        found = call("log")
    finally:
        presence.ended()
    assert isinstance(found.exception, ConfigError)
    assert call("log").stdout == "old\n"


def test_a_log_that_is_not_there_is_one_error():
    assert isinstance(call("log").exception, ConfigError)


def fake_claude(folder, script):
    folder.mkdir(exist_ok=True)
    program = folder / "claude"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_without_claude_code_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = call("claude", "-p", "hi")
    assert isinstance(found.exception, ConfigError)
    assert "@anthropic-ai/claude-code" in found.exception.hint


def way(**options):
    return proxy_exec._Way("http://127.0.0.1:9/v1", "http://127.0.0.1:9", "key", **options)


def test_claude_code_gets_its_own_arguments_and_a_quiet_environment(monkeypatch, tmp_path):
    script = (
        "import json, os, sys\n"
        f"json.dump([sys.argv[1:], dict(os.environ)], open({str(tmp_path / 'seen')!r}, 'w'))\n"
        "sys.exit(3)"
    )
    fake_claude(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-MARKER")
    monkeypatch.setenv("ANTHROPIC_DEFAULT_HAIKU_MODEL", "mine")
    monkeypatch.setattr(proxy_exec, "_way_of_daemon", lambda _: way())
    monkeypatch.setattr(proxy_exec, "_first_model", lambda _: "offered")
    found = call("claude", "--help", "-p", "a b")
    arguments, names = json.loads((tmp_path / "seen").read_text())
    assert found.exit_code == 3
    assert arguments == ["--help", "-p", "a b"]
    assert names["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert names["ANTHROPIC_AUTH_TOKEN"] == "key"
    assert "ANTHROPIC_API_KEY" not in names
    for name in ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY"):
        assert names[name] == "1"
    assert names["ANTHROPIC_MODEL"] == "offered"
    assert names["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "mine"


def test_claude_code_is_not_started_on_a_proxy_that_speaks_openai_only(monkeypatch, tmp_path):
    fake_claude(tmp_path / "bin", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(proxy_exec, "_way_of_daemon", lambda _: way(compat="openai"))
    assert isinstance(call("claude").exception, ConfigError)


def test_a_program_needs_a_key_unless_the_proxy_has_one(monkeypatch):
    facts = {"host": "127.0.0.1", "port": 9}
    with pytest.raises(ConfigError):
        proxy_exec._way_to(facts)
    assert proxy_exec._way_to({**facts, "own_key": True}).openai_url == "http://127.0.0.1:9/v1"
    monkeypatch.setenv("CONFIDE_API_KEY", "mine")
    # A key of the environment that is meant for OpenAI goes to no other place.
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai")
    both = proxy_exec._way_to({**facts, "compat": "both"})
    assert both == proxy_exec._Way(
        "http://127.0.0.1:9/openai/v1", "http://127.0.0.1:9/anthropic", "mine", "both"
    )


@pytest.mark.parametrize(
    ("program", "status"), [(["/nonexistent/program"], 127), (["/"], 126), (["false"], 1)]
)
def test_exec_ends_as_the_program_does(monkeypatch, program, status):
    monkeypatch.setattr(proxy_exec, "_way_of_daemon", lambda _: way())
    assert call("exec", "--", *program).exit_code == status


def test_exec_takes_the_options_of_the_program_for_the_program(monkeypatch):
    monkeypatch.setattr(proxy_exec, "_way_of_daemon", lambda _: way())
    assert call("exec", sys.executable, "-c", "raise SystemExit(5)").exit_code == 5


def test_files_of_launchers_that_are_gone_are_removed_and_no_others(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    stale = [f"exec-{gone.pid}-a.pid", f"exec-{gone.pid}-a.log", f"exec-{gone.pid}-a.log.1"]
    kept = [f"exec-{os.getpid()}-a.log", "exec-notes-a.log", "proxy.pid"]
    for name in stale + kept:
        (tmp_path / name).write_text("")
    proxy_exec._sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("name", ["confidential_proxy", "confidential_claude"])
def test_the_short_programs_are_the_commands(name):
    code = f"import sys; sys.argv[1:] = ['status']; from confide.cli.main import {name}; {name}()"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    expected = "state" if name == "confidential_proxy" else "claude-code"
    assert expected in found.stdout + found.stderr


@pytest.mark.parametrize(("profile", "said"), [("production", False), ("lab", True)])
def test_a_lab_policy_is_announced_at_start(tmp_path, monkeypatch, profile, said):
    served = []
    monkeypatch.setattr("confide.apps.proxy.serve_proxy", lambda *_, **named: served.append(named))
    path = example_policy(tmp_path)
    text = path.read_text().replace("version = 1", f'version = 1\nprofile = "{profile}"')
    path.write_text(text)
    found = call("run", "--gateway", "http://gateway.test", "--policy", str(path))
    assert found.exit_code == 0, found.output
    assert len(served) == 1
    assert ("LAB ONLY" in found.output) is said
