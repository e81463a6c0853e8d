"""`confide up` serves any client within a minute, survives a second run, stops within 5 s."""

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
from tests.doubles.ollama_server import OllamaDouble
from tests.doubles.openai_server import OpenAIDouble
from tests.stacks import ECHO

from confide.local.enclave_file import demo_model_path
from confide.local.readiness import free_port

pytestmark = pytest.mark.e2e


class Up:
    """One run of `confide up`, its output collected as it comes."""

    def __init__(self, home, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CONFIDE_")}
        self.port = free_port()
        ports = ["--port", self.port, "--gateway-port", free_port(), "--enclave-port", free_port()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "confide", "up", *map(str, ports), *arguments],
            env={**environment, "CONFIDE_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.output += line

    def wait_for(self, text, within_s=60):
        deadline = time.monotonic() + within_s
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def interrupt(self):
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=10)
        self._thread.join(5)
        return time.monotonic() - started


@pytest.fixture
def start_up(tmp_path):
    runs = []

    def start(*arguments, home=tmp_path / "home"):
        run = Up(home, *arguments)
        runs.append(run)
        return run

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.wait(10)
        run.process.stdout.close()


def variables(home):
    lines = (home / "client.env").read_text().splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


def test_a_first_and_a_second_run_serve_with_the_same_keys(start_up, tmp_path):
    home = tmp_path / "home"
    first = start_up()
    first.wait_for("Serving.")
    assert "SIMULATED" in first.output
    assert "curl" in first.output
    assert str(home / "logs") in first.output
    found = variables(home)
    assert set(found) == {
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_AUTH_TOKEN",
    }
    assert stat.S_IMODE((home / "client.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "client" / "kek").stat().st_mode) == 0o600
    ask(found)
    kek = (home / "client" / "kek").read_bytes()
    assert first.interrupt() < 5
    assert first.process.returncode == 0

    second = start_up()
    second.wait_for("Serving.")
    again = variables(home)
    assert again["OPENAI_API_KEY"] == found["OPENAI_API_KEY"]
    assert (home / "client" / "kek").read_bytes() == kek
    ask(again)
    assert second.interrupt() < 5


def ask(found):
    with OpenAI(
        base_url=found["OPENAI_BASE_URL"], api_key=found["OPENAI_API_KEY"], max_retries=0
    ) as client:
        answer = client.chat.completions.create(
            model="demo-tiny", messages=[{"role": "user", "content": "Hello"}]
        )
        assert answer.choices[0].message.content


def test_the_demo_shows_the_answer_and_what_the_gateway_saw(start_up):
    run = start_up("--demo")
    run.wait_for("Serving.")
    shown = run.output
    assert "What the gateway saw" in shown
    assert "AT THE GATEWAY" in shown
    assert '"event":"relayed"' in shown
    assert shown.count("files: not found; in its memory: not found") == 2
    assert "FOUND" not in shown
    assert run.interrupt() < 5


def test_ctrl_c_lets_a_stream_finish_and_leaves_no_process(start_up, tmp_path):
    run = start_up()
    run.wait_for("Serving.")
    family = psutil.Process(run.process.pid).children(recursive=True)
    assert len(family) >= 4, "three rooms and the engine"
    found = variables(tmp_path / "home")
    texts = []
    with OpenAI(base_url=found["OPENAI_BASE_URL"], api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="demo-tiny",
            messages=[{"role": "user", "content": "Tell me a long story about a fox."}],
            stream=True,
            max_tokens=120,
        )
        for event in stream:
            if not texts:
                run.process.send_signal(signal.SIGINT)
            texts.append(event)
    assert texts[-1].choices[0].finish_reason
    run.process.wait(5)
    _, alive = psutil.wait_procs(family, timeout=1)
    assert not alive
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(found["OPENAI_BASE_URL"])


def test_a_killed_supervisor_takes_the_rooms_with_it(start_up):
    run = start_up()
    run.wait_for("Serving.")
    family = psutil.Process(run.process.pid).children(recursive=True)
    run.process.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_an_occupied_port_is_one_error_that_names_the_pid(start_up):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        run = start_up("--port", str(port))
        assert run.process.wait(20) == 1
        run._thread.join(5)
    assert f"(pid {os.getpid()})" in run.output
    assert "confide: hint:" in run.output
    assert "Traceback" not in run.output


def test_an_unwritable_data_directory_is_one_error_and_nothing_is_left(start_up, tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    run = start_up(home=blocked / "home")
    assert run.process.wait(20) == 1
    run._thread.join(5)
    assert str(blocked) in run.output
    assert "confide: hint:" in run.output
    assert "Traceback" not in run.output
    assert blocked.read_text() == ""


def test_a_model_server_that_is_not_there_is_one_error(start_up):
    run = start_up("--ollama", f"http://127.0.0.1:{free_port()}")
    assert run.process.wait(20) == 1
    run._thread.join(5)
    assert "confide: error:" in run.output
    assert "Traceback" not in run.output


def test_verify_shows_the_factors_of_the_stack_and_refuses_it(start_up, tmp_path):
    run = start_up()
    run.wait_for("Serving.")
    url = next(x for x in run.output.split() if x.startswith("http://") and f":{run.port}" not in x)
    checked = subprocess.run(
        [sys.executable, "-m", "confide", "verify", url, "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 3, checked.stderr
    assert "simulated" in json.dumps(json.loads(checked.stdout)).lower()


def test_an_endless_stream_is_cut_visibly_and_everything_stops_within_five_seconds(start_up):
    double = OpenAIDouble(words=(" word",) * 2000, token_delay_s=0.02)
    with double.serve() as url:
        run = start_up("--openai", url)
        run.wait_for("Serving.")
        told, stopped_after = None, None
        with OpenAI(
            base_url=f"http://127.0.0.1:{run.port}/v1", api_key="x", max_retries=0
        ) as client:
            stream = client.chat.completions.create(
                model="tiny-vllm", messages=[{"role": "user", "content": "go on"}], stream=True
            )
            try:
                for number, _ in enumerate(stream):
                    if number == 3:
                        run.process.send_signal(signal.SIGINT)
                        started = time.monotonic()
            except (openai.APIError, httpx2.HTTPError) as error:
                told = error
            run.process.wait(10)
            stopped_after = time.monotonic() - started
    assert told is not None
    assert stopped_after < 5, run.output


def test_an_ollama_server_and_a_gguf_file_can_be_the_backend(start_up, tmp_path):
    model = tmp_path / "mine.gguf"
    model.write_bytes(demo_model_path().read_bytes())
    with OllamaDouble().serve() as url:
        run = start_up("--ollama", url, "--model", str(model))
        run.wait_for("Serving.")
        with OpenAI(base_url=f"http://127.0.0.1:{run.port}/v1", api_key="x") as client:
            names = [found.id for found in client.models.list()]
            assert len(names) > 1
            assert "mine" in names
            for name in names[:2]:
                answer = client.chat.completions.create(
                    model=name, messages=[{"role": "user", "content": "Hello"}]
                )
                assert answer.choices[0].message.content
        assert run.interrupt() < 5


def test_a_stack_that_was_stopped_leaves_no_pid_file(start_stack):
    stack = start_stack(ECHO)
    assert len(list(stack.home.run.glob("*.pid"))) == 3
    stack.stop()
    assert list(stack.home.run.glob("*.pid")) == []
