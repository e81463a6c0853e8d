"""The PID file says who runs, and is never believed without the lock."""

import os
import stat
import subprocess
import sys

import pytest

from confide.daemon import presence as presence_module
from confide.daemon.presence import Presence, look, remove_stale
from confide.errors import ConfigError

HOLD = """
import sys
from pathlib import Path
from confide.daemon.presence import Presence
presence = Presence.claim(Path(sys.argv[1]), port=1)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "proxy.pid"


@pytest.fixture
def holder(path):
    """Another process that holds the PID file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_without_a_file_nobody_runs(path):
    assert look(path) is None
    assert not remove_stale(path)


def test_a_held_file_names_its_process_and_what_it_does(path, holder):
    found = look(path)
    assert (found.pid, found.alive, found.state) == (holder.pid, True, "starting")
    assert path.read_text().splitlines()[0] == str(holder.pid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_claim_is_refused_with_the_pid(path, holder):
    with pytest.raises(ConfigError) as caught:
        Presence.claim(path)
    assert caught.value.code == "already-running"
    assert str(holder.pid) in str(caught.value)


def test_a_held_file_is_not_removed_as_stale(path, holder):
    assert not remove_stale(path)
    assert path.exists()


def test_the_file_of_a_killed_process_is_stale_and_can_be_claimed(path, holder):
    holder.kill()
    holder.wait()
    found = look(path)
    assert (found.pid, found.alive, found.state) == (holder.pid, False, "stopped")
    presence = Presence.claim(path, port=2)
    assert look(path).pid == os.getpid()
    presence.ended()
    assert not path.exists()


def test_a_file_that_names_a_process_which_is_not_the_server_is_stale(path):
    # The number was given to another process meanwhile: here, to this test.
    path.parent.mkdir()
    path.write_text(f"{os.getpid()}\n")
    found = look(path)
    assert not found.alive
    assert remove_stale(path)
    assert not path.exists()


def test_every_change_of_state_is_seen(path):
    presence = Presence.claim(path, host="127.0.0.1")
    states = [look(path).state]
    for change in (presence.serving, presence.draining):
        change()
        states.append(look(path).state)
    assert states == ["starting", "serving", "draining"]
    presence.note("serving", port=8000)
    assert look(path).facts == {"host": "127.0.0.1", "port": 8000, "state": "serving"}
    presence.ended()
    presence.ended()
    presence.draining()
    assert look(path) is None


@pytest.mark.parametrize("content", [b"my notes\n", b"-1\n", b"12 13\n", b"x" * 20_000])
def test_a_file_that_is_something_else_is_left_as_it_is(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for attempt in (Presence.claim, look, remove_stale):
        with pytest.raises(ConfigError):
            attempt(path)
    assert path.read_bytes() == content


def test_a_file_that_its_owner_removes_while_it_is_claimed_is_made_anew(path, monkeypatch):
    lock = presence_module.fcntl.flock

    def lock_after_removal(descriptor, operation):
        monkeypatch.setattr(presence_module.fcntl, "flock", lock)
        path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(presence_module.fcntl, "flock", lock_after_removal)
    presence = Presence.claim(path)
    assert look(path).alive
    presence.ended()


def test_a_link_is_not_followed(path, tmp_path):
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    for attempt in (Presence.claim, look, remove_stale):
        with pytest.raises(ConfigError):
            attempt(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_of_someone_else_at_the_path_survives_the_end(path):
    presence = Presence.claim(path)
    path.unlink()
    path.write_text("7\n")
    presence.ended()
    assert path.read_text() == "7\n"


def test_facts_that_are_not_ours_are_no_facts(path):
    path.parent.mkdir()
    path.write_text("12\n{broken")
    assert look(path).facts == {}
    path.write_text("")
    assert look(path).pid is None


def test_a_directory_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        Presence.claim(tmp_path / "file" / "proxy.pid")
