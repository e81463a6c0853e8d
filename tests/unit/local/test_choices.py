"""What `confide up` makes of its options, before anything is started."""

import json
import stat

import pytest
from click.testing import CliRunner
from tests.doubles.openai_server import OpenAIDouble

from confide.cli.main import cli
from confide.errors import ConfigError
from confide.local import Home, Stack, StackOptions
from confide.local.enclave_file import BackendChoice
from confide.local.processes import Child
from confide.local.readiness import free_port
from confide.local.up import choose_backends


def test_no_option_means_the_demo_model():
    assert choose_backends(model=None, ollama=None, openai=None) is None


def test_a_vllm_server_is_recognised_and_gets_a_salt_per_domain():
    with OpenAIDouble().serve() as url:
        (choice,) = choose_backends(model=None, ollama=None, openai=url)
    assert choice.options["engine"] == "vllm"
    assert choice.models == ("tiny-vllm",)


def test_another_server_is_not_taken_for_vllm():
    listed = {"object": "list", "data": [{"id": "m", "owned_by": "somebody"}]}
    double = OpenAIDouble(answer=(200, listed, "application/json", {}))
    with double.serve() as url:
        (choice,) = choose_backends(model=None, ollama=None, openai=url)
    assert "engine" not in choice.options


@pytest.mark.parametrize(
    "answer", [b"<html>", json.dumps({"data": []}).encode(), b'{"data": 3}', b"[]"]
)
def test_a_server_without_models_is_one_error_with_a_hint(answer):
    double = OpenAIDouble(answer=(200, answer, "application/json", {}))
    with double.serve() as url, pytest.raises(ConfigError) as refusal:
        choose_backends(model=None, ollama=None, openai=url)
    assert refusal.value.hint


@pytest.mark.parametrize("port", ["0", "70000", "x"])
def test_a_port_that_does_not_exist_is_a_usage_error(port):
    assert CliRunner().invoke(cli, ["up", "--port", port]).exit_code == 2


def test_two_rooms_on_one_port_are_refused_before_anything_starts(tmp_path):
    port = free_port()
    echo = (BackendChoice("echo", ("echo",)),)
    options = StackOptions(
        proxy_port=port, gateway_port=port, enclave_ports=(free_port(),), backends=echo
    )
    with pytest.raises(ConfigError):
        Stack(Home(tmp_path / "home"), options).start()
    assert not (tmp_path / "home").exists()


def test_an_error_of_an_earlier_run_is_not_shown_as_todays(tmp_path):
    log = tmp_path / "enclave.log"
    log.write_text("confide: error: yesterday's model is broken\n")
    child = Child.start("enclave", ["no-such-room"], log)
    child.process.wait(30)
    assert child.last_words() == ""
    child.kill()


def test_a_new_log_is_private(tmp_path):
    log = tmp_path / "enclave.log"
    child = Child.start("enclave", ["no-such-room"], log)
    child.process.wait(30)
    child.kill()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
