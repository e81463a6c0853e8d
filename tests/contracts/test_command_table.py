"""The lazy command table says what the commands themselves say."""

import importlib
import tomllib
from pathlib import Path

import click
import pytest

from confide.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]


def walk(command, path):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), f"{path} {name}")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_module_registers_the_command_of_its_entry(name):
    group = click.Group()
    importlib.import_module(f"confide.cli.{COMMANDS[name].module}").register(group)
    assert list(group.commands) == [name]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_summary_is_the_first_line_of_the_help(name):
    command = cli.get_command(click.Context(cli), name)
    paragraph = command.help.strip().split("\n\n")[0]
    assert " ".join(paragraph.split()) == COMMANDS[name].summary


def test_every_extra_of_the_table_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {entry.extra for entry in COMMANDS.values()} - {None} <= set(extras)


def test_every_command_and_option_has_help():
    for path, command in walk(cli, "confide"):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.name}"


def test_no_command_takes_a_secret_as_a_value():
    """A secret on the command line lands in the shell history and in the process list."""
    secret = {"passphrase", "password", "secret", "token", "kek", "api_key", "private_key"}
    for path, command in walk(cli, "confide"):
        assert secret.isdisjoint(parameter.name for parameter in command.params), path
