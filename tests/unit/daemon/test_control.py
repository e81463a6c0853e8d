"""Servers are started once, stopped politely, and killed only when they do not react."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import tests.doubles.daemon_server as double

from confide.daemon import Launch, look, start, status, stop
from confide.daemon.probe import ask, url_of
from confide.errors import ConfigError


@pytest.fixture
def run(tmp_path):
    """Start a server that behaves in some way; end it afterwards whatever it does."""
    started = []

    def launch(mode="polite", name="proxy", timeout_s=20.0, **options):
        pid_file = tmp_path / "home" / f"{name}.pid"
        command = [sys.executable, double.__file__, str(pid_file), mode]
        running = start(
            Launch(command, pid_file, tmp_path / "logs" / "log", **options), timeout_s=timeout_s
        )
        started.append(running)
        return running, pid_file

    yield launch
    for running in started:
        if running.lifeline:
            running.lifeline.close()
        if psutil.pid_exists(running.pid):
            os.kill(running.pid, signal.SIGKILL)
            os.waitpid(running.pid, 0)


def gone(pid):
    return not psutil.pid_exists(pid)


def test_a_server_is_started_answers_and_is_stopped_without_a_trace(run):
    running, pid_file = run()
    assert ask(running.facts)["status"] == "ok"
    assert os.getsid(running.pid) == running.pid  # no terminal of ours reaches it
    shown = status(pid_file)
    assert (shown["state"], shown["reachable"], shown["verified"]) == ("serving", True, True)
    assert shown["pid"] == running.pid
    assert shown["url"] == running.url
    assert stop(pid_file).outcome == "stopped"
    assert gone(running.pid)
    assert list(pid_file.parent.iterdir()) == []


def test_a_duplicate_start_is_refused_and_the_first_one_goes_on(run):
    running, pid_file = run()
    with pytest.raises(ConfigError) as caught:
        run()
    assert caught.value.code == "already-running"
    assert str(running.pid) in str(caught.value)
    assert status(pid_file)["pid"] == running.pid


def test_of_two_servers_started_at_once_one_stays(run, tmp_path):
    _, pid_file = run()
    second = subprocess.run(
        [sys.executable, double.__file__, pid_file, "polite"], capture_output=True, check=False
    )
    assert second.returncode != 0
    assert status(pid_file)["reachable"]


def test_a_stale_pid_file_is_healed(run):
    running, pid_file = run()
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)
    assert status(pid_file)["state"] == "stopped"
    again, _ = run()
    assert again.healed
    assert again.pid != running.pid
    assert stop(pid_file).outcome == "stopped"


def test_stop_removes_a_stale_pid_file_and_signals_nobody(tmp_path):
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        pid_file = tmp_path / "proxy.pid"
        pid_file.write_text(f"{innocent.pid}\n")
        stopped = stop(pid_file)
        assert (stopped.outcome, stopped.pid) == ("stale", innocent.pid)
        assert not pid_file.exists()
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()
        innocent.stdin.close()


def test_stopping_what_does_not_run_is_no_error(tmp_path):
    assert stop(tmp_path / "proxy.pid").outcome == "not-running"
    assert status(tmp_path / "proxy.pid")["state"] == "stopped"


def test_a_server_that_ignores_sigterm_is_killed_after_its_time_to_react(run):
    running, pid_file = run("deaf")
    started = time.monotonic()
    assert stop(pid_file, drain_s=60, reaction_s=0.5).outcome == "killed"
    assert 0.5 <= time.monotonic() - started < 5
    assert gone(running.pid)
    assert not pid_file.exists()


def test_a_server_that_drains_is_not_killed_for_being_slow_to_end(run):
    running, pid_file = run("drains")
    # It reacted, so the time to react does not end it; its time to drain does.
    started = time.monotonic()
    assert stop(pid_file, drain_s=0.5, reaction_s=0.1).outcome == "hurried"
    assert time.monotonic() - started >= 0.5
    assert gone(running.pid)


def test_a_server_that_drains_for_ever_is_killed(run):
    running, pid_file = run("drains-for-ever")
    assert stop(pid_file, drain_s=0).outcome == "killed"
    assert gone(running.pid)
    assert not pid_file.exists()


def test_a_draining_server_says_so(run):
    running, pid_file = run("drains")
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + 5
    while look(pid_file).state != "draining":
        assert time.monotonic() < deadline
    assert status(pid_file)["state"] == "draining"
    os.kill(running.pid, signal.SIGINT)
    os.waitpid(running.pid, 0)


def test_the_words_of_a_server_that_refuses_are_repeated(run):
    with pytest.raises(ConfigError) as caught:
        run("refuses")
    assert str(caught.value) == "it does not like this"
    assert caught.value.hint == "change it"


def test_old_words_in_the_log_are_not_taken_for_new_ones(run):
    with pytest.raises(ConfigError):
        run("refuses")
    with pytest.raises(ConfigError) as caught:
        run("dies")
    assert "9" in str(caught.value)
    assert "like" not in str(caught.value)


@pytest.mark.parametrize("mode", ["never-ready", "mute"])
def test_a_server_that_does_not_answer_in_time_is_ended_again(run, tmp_path, mode):
    children = set(psutil.Process().children())
    with pytest.raises(ConfigError):
        run(mode, timeout_s=1.5)
    assert set(psutil.Process().children()) <= children
    assert not (tmp_path / "home" / "proxy.pid").exists()


def test_a_log_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        start(Launch(["true"], tmp_path / "proxy.pid", tmp_path / "file" / "log"))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_the_url_is_one_that_this_machine_can_use(host, url):
    assert url_of({"host": host, "port": 1}) == url


def test_nobody_answers_for_facts_without_a_port():
    assert ask({}) is None
