"""A program gets an address and a key, and nothing it has no use for."""

import os
import signal
import subprocess
import sys
import time

import pytest

from confide.daemon.programs import EXIT_CODES, environment_for, run_program
from confide.errors import ConfigError

SUPERVISOR = """
import sys
from confide.daemon.programs import run_program
sys.exit(run_program([sys.executable, "-c", sys.argv[1]], {}))
"""


def made(**names):
    return environment_for(
        names, openai_url="http://127.0.0.1:1/v1", anthropic_url="http://127.0.0.1:1", key="k"
    )


def test_the_four_variables_are_set_and_the_rest_is_kept():
    found = made(PATH="/bin", OPENAI_API_KEY="sk-for-openai")
    assert found["PATH"] == "/bin"
    assert found["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    assert found["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert found["OPENAI_API_KEY"] == found["ANTHROPIC_AUTH_TOKEN"] == "k"


@pytest.mark.parametrize(
    "name", ["CLIENT_KEK", "CONFIDE_API_KEY", "CONFIDE_PROXY__API_KEY", "ANTHROPIC_API_KEY"]
)
def test_secrets_that_are_not_for_the_program_are_held_back(name):
    assert "marker" not in made(**{name: "marker"}).values()


def test_loopback_requests_take_no_detour_through_a_web_proxy():
    found = made(HTTP_PROXY="http://web.example", no_proxy="internal.example, localhost")
    assert found["NO_PROXY"] == "127.0.0.1,localhost,::1"
    assert found["no_proxy"] == "internal.example,localhost,127.0.0.1,::1"


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_that_of_the_program(code):
    assert run_program([sys.executable, "-c", f"raise SystemExit({code})"], os.environ) == code


def test_a_program_that_a_signal_ended_is_128_and_the_signal():
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_program([sys.executable, "-c", kill], os.environ) == 128 + signal.SIGKILL


def test_a_program_that_is_not_there_is_127_and_a_directory_126(tmp_path):
    with pytest.raises(ConfigError) as missing:
        run_program([str(tmp_path / "none")], {})
    with pytest.raises(ConfigError) as unusable:
        run_program([str(tmp_path)], {})
    assert [EXIT_CODES[found.value.code] for found in (missing, unusable)] == [127, 126]


def test_our_own_signal_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    run_program([sys.executable, "-c", ""], os.environ)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_program_and_its_answer_comes_back(number):
    program = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\ntime.sleep(30)"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, program],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert supervisor.stdout.readline() == b"ready\n"
    started = time.monotonic()
    supervisor.send_signal(number)
    assert supervisor.wait(10) == 42
    assert time.monotonic() - started < 5
    supervisor.stdout.close()
