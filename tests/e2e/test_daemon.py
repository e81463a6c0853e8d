"""The proxy in the background and programs beside it, as real processes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import httpx2
import openai
import psutil
import pytest
from openai import OpenAI
from tests.policies import example_policy

from confide.daemon import Launch, look, start, status, stop
from confide.local.readiness import free_port

pytestmark = pytest.mark.e2e

ASK = [{"role": "user", "content": "one two three four five six seven eight nine ten " * 3}]


def ended(pid):
    """Gone, or a zombie that whoever is process 1 here did not collect."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def confide(tmp_path):
    """Run `confide` on a machine of its own; end its daemon afterwards."""
    home = tmp_path / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONFIDE_")}

    def run(*words, **names):
        return subprocess.run(
            [sys.executable, "-m", "confide", *words],
            env={**environment, "CONFIDE_HOME": str(home), **names},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    yield run
    for pid_file in home.glob("*.pid"):
        stop(pid_file, drain_s=0)


@pytest.fixture
def options(tmp_path):
    """Options of a production proxy whose gateway is not there."""
    policy = str(example_policy(tmp_path))
    gateway = f"http://127.0.0.1:{free_port()}"
    return ["--gateway", gateway, "--policy", policy, "--port", str(free_port())]


def test_a_production_proxy_lives_its_life_in_the_background(confide, options, tmp_path):
    home = tmp_path / "home"
    started = confide("proxy", "start", *options)
    assert started.returncode == 0, started.stderr
    assert "created the client KEK" in started.stderr
    shown = confide("proxy", "status", "--json")
    assert shown.returncode == 0
    found = json.loads(shown.stdout)
    assert (found["state"], found["reachable"], found["verified"]) == ("serving", True, False)
    assert found["url"] in started.stderr
    again = confide("proxy", "start", *options)
    assert again.returncode == 1
    assert str(found["pid"]) in again.stderr
    log = confide("proxy", "log")
    assert '"event":"verification"' in log.stdout
    stopped = confide("proxy", "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert ended(found["pid"])
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(found["url"])
    assert confide("proxy", "status").returncode == 1
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    assert left == ["client/kek", "logs/confidential-proxy.log"]
    assert stat.S_IMODE((home / "client" / "kek").stat().st_mode) == 0o600


def test_the_documented_names_of_the_environment_start_it(confide, options, tmp_path):
    names = {
        "PROXY_URL": options[1],
        "PORT": options[5],
        "CLIENT_KEK": "00" * 32,
        "CONFIDENTIAL_PROXY_LOG_LEVEL": "silly",
        "CONFIDE_PROXY__POLICY_FILE": options[3],
    }
    assert confide("proxy", "start", **names).returncode == 0
    assert json.loads(confide("proxy", "status", "--json").stdout)["url"].endswith(options[5])
    assert not (tmp_path / "home" / "client").exists()
    assert "00" * 8 not in confide("proxy", "log").stdout
    shown = json.loads(confide("config", "show", "proxy", "--json", **names).stdout)
    origins = {row["setting"]: row["origin"] for row in shown}
    assert origins["gateway_url"] == "environment PROXY_URL"
    assert origins["client_kek"] == "environment CLIENT_KEK"
    assert confide("proxy", "stop").returncode == 0


def test_a_daemon_without_a_log_file_writes_where_its_starter_does(options, tmp_path):
    # Into files: a pipe would not end before the daemon does.
    home, written = tmp_path / "home", tmp_path / "terminal"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONFIDE_")}
    with written.open("wb") as terminal:
        started = subprocess.run(
            [sys.executable, "-m", "confide", "proxy", "start", *options, "--log-file", "-"],
            env={**environment, "CONFIDE_HOME": str(home)},
            stdout=terminal,
            stderr=terminal,
            check=False,
        )
    assert started.returncode == 0
    assert stop(home / "proxy.pid").outcome == "stopped"
    assert '"event":"verification"' in written.read_text()
    assert not (home / "logs").exists()


def test_a_daemon_that_cannot_start_says_why_here(confide, options):
    with_port = confide("proxy", "start", *options)
    assert with_port.returncode == 0
    second = confide("proxy", "start", *options, "--pid-file", "other.pid")
    assert second.returncode == 1
    assert "already listens" in second.stderr
    assert not os.path.exists("other.pid")


def test_a_stopped_process_is_killed_since_it_does_not_react(confide, options, tmp_path):
    assert confide("proxy", "start", *options).returncode == 0
    pid_file = tmp_path / "home" / "proxy.pid"
    pid = look(pid_file).pid
    os.kill(pid, signal.SIGSTOP)
    assert status(pid_file)["reachable"] is False
    assert confide("proxy", "status").returncode == 5
    began = time.monotonic()
    told = confide("proxy", "stop")
    assert "killed" in told.stderr
    assert 5 <= time.monotonic() - began < 9
    assert ended(pid)
    assert not pid_file.exists()


@pytest.fixture
def daemon(stack, tmp_path):
    """A proxy of the local stack in the background: the same code, another command line."""
    settings = json.loads((stack.home.run / "proxy.json").read_text())
    file = tmp_path / "proxy.json"
    file.write_text(json.dumps({**settings, "port": 0, "shutdown_timeout_s": 20}))
    pid_file, log = tmp_path / "proxy.pid", tmp_path / "proxy.log"
    command = [sys.executable, "-m", "confide.local", "proxy", "--settings", str(file)]
    command += ["--home", str(stack.home.path), "--pid-file", str(pid_file), "--log-file", str(log)]
    running = start(Launch(command, pid_file, log))
    yield running, pid_file
    stop(pid_file, drain_s=0)


def read_slowly(url, read, failed, began):
    with OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        try:
            for chunk in client.chat.completions.create(model="slow", messages=ASK, stream=True):
                read.append(chunk)
                began.set()
        except (openai.APIError, httpx2.HTTPError) as error:
            failed.append(error)


@pytest.fixture
def reader(daemon):
    """A program that reads a slow answer while the daemon is stopped."""
    running, _ = daemon
    read, failed, began = [], [], threading.Event()
    thread = threading.Thread(target=read_slowly, args=(running.url, read, failed, began))
    thread.start()
    assert began.wait(30)
    yield thread, read, failed
    thread.join(30)


def test_an_open_answer_is_finished_before_the_end(daemon, reader):
    running, pid_file = daemon
    thread, read, failed = reader
    assert stop(pid_file).outcome == "stopped"
    thread.join(10)
    assert failed == []
    assert read[-1].choices[0].finish_reason == "stop"
    assert ended(running.pid)


def test_an_answer_that_takes_longer_than_agreed_is_cut_visibly(daemon, reader):
    running, pid_file = daemon
    thread, _, failed = reader
    assert stop(pid_file, drain_s=0).outcome == "hurried"
    thread.join(10)
    assert len(failed) == 1
    assert ended(running.pid)


def test_while_it_drains_it_says_so_and_takes_nothing_new(daemon, reader):
    running, pid_file = daemon
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while look(pid_file).state != "draining":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(running.url)


CHAT = """
from openai import OpenAI
answer = OpenAI().chat.completions.create(
    model="echo", messages=[{"role": "user", "content": "wired"}]
)
print(answer.choices[0].message.content)
"""


def test_exec_finds_a_running_confide_up_through_the_data_directory(confide, stack):
    found = confide(
        "proxy", "exec", "--", sys.executable, "-c", CHAT, CONFIDE_HOME=str(stack.home.path)
    )
    assert found.returncode == 0, found.stderr
    assert "wired" in found.stdout


def test_claude_code_gets_a_model_of_the_running_stack(confide, stack, tmp_path):
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\necho $ANTHROPIC_MODEL $ANTHROPIC_BASE_URL $1; exit 4\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    found = confide("proxy", "claude", "--version", CONFIDE_HOME=str(stack.home.path), PATH=path)
    assert found.returncode == 4, found.stderr
    model, url, argument = found.stdout.split()
    assert model in ("demo-tiny", "echo", "slow")
    assert url.startswith(stack.proxy_url)
    assert argument == "--version"


def test_exec_starts_a_proxy_and_leaves_nothing_of_it(confide, options, tmp_path):
    script = "curl -s ${OPENAI_BASE_URL%%/openai/v1}/; echo $OPENAI_API_KEY; exit 7"
    found = confide(
        "proxy", "exec", *options[:4], "--", "sh", "-c", script, CONFIDE_API_KEY="ck_mine"
    )
    assert found.returncode == 7, found.stderr
    assert '"status":"ok"' in found.stdout
    assert "ck_mine" in found.stdout
    url = found.stderr.split("program: ")[1].split()[0]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)
    files = [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert files == ["kek"]


def test_exec_without_any_key_starts_nothing(confide, options, tmp_path):
    found = confide("proxy", "exec", *options, "--", "true")
    assert found.returncode == 1
    assert "CONFIDE_API_KEY" in found.stderr
    assert not list((tmp_path / "home").glob("*"))


def test_a_killed_launcher_takes_the_proxy_it_started_with_it(confide, options, tmp_path):
    home = tmp_path / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONFIDE_")}
    waits = [sys.executable, "-c", "print('up', flush=True); input()"]
    launcher = subprocess.Popen(
        [sys.executable, "-m", "confide", "proxy", "exec", *options, "--", *waits],
        env={**environment, "CONFIDE_HOME": str(home), "CONFIDE_API_KEY": "ck_mine"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert launcher.stdout.readline() == b"up\n"
    (pid_file,) = home.glob("exec-*.pid")
    pid = look(pid_file).pid
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 10
    while not ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not pid_file.exists()
    launcher.stdin.close()
    launcher.stdout.close()
    assert confide("proxy", "exec", *options, "--", "true", CONFIDE_API_KEY="x").returncode == 0
    assert list(home.glob("exec-*")) == []  # its log is removed by the next one
