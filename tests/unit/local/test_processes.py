"""Rooms start, are awaited, stop in order, and never outlive the supervisor."""

import subprocess
import sys
import textwrap
import time

import pytest

from confide.errors import ConfigError
from confide.local.processes import Child, stop_in_order


def child(code, log):
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Child("room", process, log)


OBEDIENT = """
    import signal, sys, threading
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    print("ready", flush=True)
    stopped.wait()
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        time.sleep(1)
"""


def ready(one):
    one.wait_until(lambda: "ready" in one.log.read_text(), timeout_s=20)
    return one


def test_an_obedient_room_is_not_killed(tmp_path):
    one = ready(child(OBEDIENT, tmp_path / "log"))
    assert stop_in_order([one], within_s=10) == []
    assert one.process.returncode == 0


def test_a_stubborn_room_is_killed_in_time(tmp_path):
    rooms = [ready(child(STUBBORN, tmp_path / "a")), ready(child(OBEDIENT, tmp_path / "b"))]
    started = time.monotonic()
    assert stop_in_order(rooms, within_s=2) == ["room"]
    assert time.monotonic() - started < 4
    assert not any(room.alive for room in rooms)


def test_a_room_that_ends_early_passes_on_its_last_error(tmp_path):
    one = child(
        "import sys; sys.stderr.write('confide: error: the file is broken\\n'); sys.exit(1)",
        tmp_path / "log",
    )
    with pytest.raises(ConfigError) as refusal:
        one.wait_until(lambda: False, timeout_s=20)
    assert str(refusal.value) == "the file is broken"
    stop_in_order([one], within_s=1)


def test_a_room_that_never_gets_ready_is_given_up(tmp_path):
    one = ready(child(OBEDIENT, tmp_path / "log"))
    with pytest.raises(ConfigError):
        one.wait_until(lambda: False, timeout_s=0.1)
    stop_in_order([one], within_s=10)


def test_a_room_stops_itself_when_the_other_end_of_its_input_closes(tmp_path):
    one = child(
        """
        import signal, threading
        from confide.daemon.lifeline import stop_when_parent_dies
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        stop_when_parent_dies()
        print("ready", flush=True)
        assert stopped.wait(30)
        """,
        tmp_path / "log",
    )
    ready(one)
    one.process.stdin.close()
    assert one.process.wait(20) == 0
