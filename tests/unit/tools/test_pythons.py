"""The command that runs the attestation tests on every Python that is found."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("test_pythons")


def test_this_interpreter_is_found_under_its_own_version_only(tool):
    assert tool._is(sys.executable, HERE)
    assert not tool._is(sys.executable, "3.9")


def test_a_version_that_is_not_there_is_named(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "VERSIONS", ("3.1",))
    assert list(tool.found()) == []
    assert "Python 3.1: not found" in capsys.readouterr().out
    assert tool.main([]) == 2


@pytest.mark.slow
def test_every_python_passes(tool):
    # Needs an index of packages and the interpreters: make test-pythons
    assert tool.main([]) == 0
