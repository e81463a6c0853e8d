"""stdout is data, stderr is talk, and foreign text cannot drive the terminal."""

import io
import json

import pytest

from confide.cli.output import emit, fail, paint, printable
from confide.errors import ConfigError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_control_characters_are_shown_instead_of_sent():
    assert printable("a\x1b[2Jb\x9bc\u202ed\n\t") == "a\\x1b[2Jb\\x9bc\\u202ed\n\t"


def test_letters_of_any_language_stay():
    assert printable("Größe, 大小, мера") == "Größe, 大小, мера"


def test_colour_is_for_terminals(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert paint("ok", "green", io.StringIO()) == "ok"
    assert paint("ok", "green", Terminal()) != "ok"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_declined(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert paint("ok", "green", Terminal()) == "ok"


def test_a_table_has_aligned_columns(capsys):
    emit([{"key_id": "4e1a", "expired": True}, {"key_id": "longer-id", "expired": None}])
    assert capsys.readouterr().out.splitlines() == [
        "KEY ID     EXPIRED",
        "4e1a       yes",
        "longer-id  -",
    ]


def test_one_record_is_a_list_of_names_and_values(capsys):
    emit({"id": 1, "scopes": ["chat", "models"]})
    assert capsys.readouterr().out.splitlines() == ["id      1", "scopes  chat, models"]


def test_json_keeps_values_that_a_table_would_shorten(capsys):
    rows = [{"id": 1, "note": None, "text": "a\nb"}]
    emit(rows, as_json=True)
    assert json.loads(capsys.readouterr().out) == rows


def test_an_empty_table_prints_nothing_and_an_empty_json_list_is_a_list(capsys):
    emit([])
    assert capsys.readouterr().out == ""
    emit([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_fail_prints_on_stderr_and_ends_the_program(capsys):
    with pytest.raises(SystemExit) as ended:
        fail(ConfigError("bad \x1b[31mvalue", hint="try again"))
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "confide: error: bad \\x1b[31mvalue",
        "confide: hint: try again",
    ]
