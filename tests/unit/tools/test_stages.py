"""`make test` stops at the first stage that fails, and pytest has the last word."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def runner(monkeypatch):
    """The script as a module, with a recorder in place of the processes."""
    spec = importlib.util.spec_from_file_location("stages", ROOT / "tools" / "test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ran = []
    module.failing = None

    def run(words, **_):
        module.ran.append(words)
        broken = module.failing is not None and module.failing in words[0]
        return subprocess.CompletedProcess(words, 3 if broken else 0)

    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def test_pytest_is_the_last_stage_and_prints_the_last_line(runner, capsys):
    assert runner.main([]) == 0
    assert "pytest" in runner.ran[-1]
    assert capsys.readouterr().out.splitlines()[-1].startswith("==> tests")


def test_the_first_failing_stage_ends_the_run_and_is_named(runner, capsys):
    runner.failing = "ruff"
    assert runner.main([]) == 3
    assert len(runner.ran) == 1
    assert "format failed" in capsys.readouterr().err


def test_arguments_go_to_pytest_only(runner):
    runner.main(["-k", "gateway"])
    assert [words for words in runner.ran if "gateway" in words] == [runner.ran[-1]]


def test_programs_are_those_beside_the_interpreter(runner):
    runner.main([])
    folder = Path(sys.executable).parent
    assert {Path(words[0]).parent for words in runner.ran} == {folder}


def test_a_program_that_is_not_installed_is_named(runner, monkeypatch, capsys):
    def run(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(runner.subprocess, "run", run)
    assert runner.main([]) == 1
    assert "ruff is not installed" in capsys.readouterr().err
