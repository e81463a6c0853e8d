"""`confide config`: what is set, and who set it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.cli.output import emit, talk

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["PROCESSES", "register", "settings_class"]

PROCESSES = {
    "gateway": ("confide.config.gateway", "GatewaySettings"),
    "proxy": ("confide.config.proxy", "ProxySettings"),
}
"""Table to module and class, for the processes that follow `confide.config.sources`."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_config_option = click.option(
    "--config",
    "path",
    type=_FILE,
    help="Settings file. Default: confide.toml in the data directory.",
)
_enclave_option = click.option(
    "--enclave", type=_FILE, help="Also read this measured settings file of an enclave."
)


def settings_class(table: str) -> type[BaseModel]:
    """Import the settings class of one process.

    Args:
        table: A key of `PROCESSES`.
    """
    module, name = PROCESSES[table]
    found: type[BaseModel] = getattr(importlib.import_module(module), name)
    return found


@click.group()
def config() -> None:
    """Show and check settings, with the origin of each value."""


@config.command()
@click.argument("process", type=click.Choice(sorted(PROCESSES)), required=False)
@_config_option
@_enclave_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(process: str | None, path: Path | None, enclave: Path | None, as_json: bool) -> None:
    """Print every value and where it came from; secrets are asterisks.

    An origin is "flag", "environment NAME", "file PATH" or "default". Without PROCESS,
    shows the processes that this machine has settings for. The enclave takes settings
    from its one measured file only, so it is shown when --enclave names that file.

    \b
    Example:
      $ confide config show gateway
      PROCESS  SETTING  VALUE      ORIGIN
      gateway  host     127.0.0.1  default
      gateway  port     9001       environment CONFIDE_GATEWAY__PORT
    """
    rows = [row for table in _chosen(process, path) for row in _rows(table, path)]
    if enclave is not None:
        rows += _enclave_rows(enclave)
    emit(rows, as_json)


@config.command()
@_config_option
@_enclave_option
def check(path: Path | None, enclave: Path | None) -> None:
    """Validate every setting without starting anything.

    Exits 0 if every process that has settings here could start, 1 with the first problem.

    \b
    Example:
      $ CONFIDE_GATEWAY__PROT=1 confide config check
      confide: error: nothing reads the environment variable CONFIDE_GATEWAY__PROT
      confide: hint: did you mean CONFIDE_GATEWAY__PORT?
    """
    from confide.config import sources

    sources.check_names(os.environ, {table: settings_class(table) for table in PROCESSES})
    counted = {table: len(list(_rows(table, path))) for table in _chosen(None, path)}
    if enclave is not None:
        counted["enclave"] = len(list(_enclave_rows(enclave)))
    emit([{"process": table, "settings": n, "result": "valid"} for table, n in counted.items()])


def _chosen(process: str | None, path: Path | None) -> list[str]:
    """The process that was named, or those with a setting; a lone machine has none."""
    from confide.config import sources

    if process is not None:
        return [process]
    chosen = [t for t in sorted(PROCESSES) if sources.is_configured(t, os.environ, path)]
    for table in sorted(PROCESSES.keys() - set(chosen)):
        talk(f"{table}: nothing is set here; see: confide config show {table}")
    return chosen


def _rows(table: str, path: Path | None) -> Iterator[dict[str, object]]:
    from confide.config import sources

    found = sources.resolve(settings_class(table), table, path=path)
    for name, value in sources.flatten(found.settings).items():
        yield {"process": table, "setting": name, "value": value, "origin": found.origins[name]}


def _enclave_rows(path: Path) -> Iterator[dict[str, object]]:
    from confide.config import sources
    from confide.config.enclave import EnclaveSettings

    found = EnclaveSettings.load(path)
    origin = f"measured file {path}, sha256 {found.sha256.hex()[:16]}"
    for name, value in sources.flatten(found.settings).items():
        yield {"process": "enclave", "setting": name, "value": value, "origin": origin}


def register(group: click.Group) -> None:
    """Add the commands to the root group."""
    group.add_command(config)
