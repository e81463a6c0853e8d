"""Every way a command can end has one message and one exit code."""

import errno
import sys

import click
import pytest

from confide.cli import main as root
from confide.cli.output import EXIT_USAGE
from confide.errors import (
    AppraisalError,
    ConfigError,
    ModelNotFound,
    OpenError,
    RateLimited,
    TransportError,
)


@pytest.fixture
def ending(monkeypatch):
    """Register a command called `doctor` that ends as the test says; return a runner."""

    def run(action, words=("doctor",)):
        command = click.Command("doctor", callback=lambda: action())
        monkeypatch.setitem(root.cli.commands, "doctor", command)
        with pytest.raises(SystemExit) as ended:
            root.main(list(words))
        return ended.value.code

    return run


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no such key"), 1),
        (OpenError(), 1),
        (ModelNotFound("no such model"), 1),
        (AppraisalError("debug", expected=False, actual=True), 3),
        (RateLimited("too many", retry_after=3), 4),
        (TransportError("no answer"), 5),
    ],
)
def test_the_exit_code_says_who_refused(ending, capsys, error, code):
    assert ending(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("confide: error: ")


def test_the_hint_is_a_line_of_its_own(ending, capsys):
    ending(raising(ConfigError("no key", hint="confide keys create")))
    assert capsys.readouterr().err.splitlines() == [
        "confide: error: no key",
        "confide: hint: confide keys create",
    ]


def test_success_is_zero_and_silent(ending, capsys):
    assert ending(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_control_c_is_130(ending):
    assert ending(raising(KeyboardInterrupt())) == 130


def test_declining_a_question_is_a_failure_and_not_an_interrupt(ending):
    assert ending(raising(click.Abort())) == 1


@pytest.mark.parametrize("words", [["nonsense"], ["doctor", "--nonsense"], ["--nonsense"]])
def test_wrong_usage_is_two_and_points_to_the_help(ending, capsys, words):
    assert ending(lambda: None, words) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--help")


@pytest.mark.parametrize("words", [[], ["policy"], ["endorsements"]])
def test_a_group_without_a_command_shows_its_help_and_calls_nothing_an_error(capsys, words):
    with pytest.raises(SystemExit) as ended:
        root.main(words)
    found = capsys.readouterr()
    assert ended.value.code == EXIT_USAGE
    assert not found.out
    assert found.err.startswith("Usage: confide")
    assert "confide: error" not in found.err


def test_a_missing_extra_names_the_command_that_installs_it(ending, capsys):
    missing = ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
    assert ending(raising(missing)) == 1
    assert "pip install 'confide[" in capsys.readouterr().err


def test_each_command_asks_for_its_own_extra(monkeypatch, capsys):
    for name in ("proxy", "gateway", "enclave", "admin"):
        broken = click.Command(name, callback=raising(ModuleNotFoundError(name="starlette.app")))
        monkeypatch.setitem(root.cli.commands, name, broken)
        with pytest.raises(SystemExit):
            root.main([name])
        assert f"confide[{root.COMMANDS[name].extra}]" in capsys.readouterr().err


def test_a_missing_module_of_confide_itself_is_a_defect_not_an_extra(ending, capsys):
    ending(raising(ModuleNotFoundError(name="confide.gone")))
    assert "pip install" not in capsys.readouterr().err


def test_an_unexpected_error_does_not_print_its_message(ending, capsys):
    assert ending(raising(ValueError("the prompt was: hello"))) == 1
    out, err = capsys.readouterr()
    assert "hello" not in out + err
    assert "ValueError" in err


def test_a_traceback_is_printed_only_when_asked_for(ending, capsys):
    assert ending(raising(ValueError("marker")), ["--traceback", "doctor"]) == 1
    assert "marker" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly(ending, capsys, monkeypatch):
    for name in ("stdout", "stderr"):  # click wraps both; put them back afterwards
        monkeypatch.setattr(sys, name, getattr(sys, name))
    assert ending(raising(BrokenPipeError(errno.EPIPE, "broken pipe"))) == 1
    assert capsys.readouterr().err == ""
