"""`confide proxy start`, `stop`, `status` and `log`: the proxy in the background."""

from __future__ import annotations

import collections
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from confide.cli.output import (
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    emit,
    printable,
    talk,
)
from confide.cli.proxy_options import (
    Given,
    also_server_options,
    default_log_file,
    default_pid_file,
    pid_file_option,
    server_options,
)
from confide.errors import ConfigError

if TYPE_CHECKING:
    from confide.config.proxy import ProxySettings

__all__ = ["log", "prepare", "server_command", "start", "status", "stop"]

_FOLLOW_S = 0.2


def server_command(words: list[str], pid_file: Path, log_file: Path | None) -> list[str]:
    """The command line of a proxy that claims `pid_file`."""
    files = ["--pid-file", str(pid_file)]
    if log_file is not None:
        files += ["--log-file", str(log_file)]
    return [sys.executable, "-m", "confide", "proxy", "run", *words, *files]


def prepare(settings: ProxySettings) -> None:
    """Do what a proxy does first, so that it is said on this terminal and not in a log."""
    from confide.apps.client_kek import ready_kek
    from confide.config.sources import home_directory

    ready_kek(settings, home_directory())


@click.command("start")
@server_options
@pid_file_option
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Log file, rotated at 10 MiB; - is this terminal. Default: logs/confidential-proxy.log"
    " in the data directory.",
)
def start(pid_file: Path | None, log_file: Path | None, **options: Any) -> None:
    """Start the proxy in the background and wait until it answers.

    Refuses a second proxy on the same PID file; a PID file that nobody holds is replaced.
    Exits 1, with the proxy's own words, if it does not come up.

    \b
    Example:
      $ confidential-proxy start --gateway https://gateway.example.org --policy production.toml
      the proxy runs: http://127.0.0.1:8000 (pid 4711)
    """
    from confide.daemon import Launch
    from confide.daemon import start as start_server

    given = Given(options)
    prepare(given.settings())
    pid_file = (pid_file or default_pid_file()).absolute()
    log_file = default_log_file() if log_file is None else log_file
    chosen = None if str(log_file) == "-" else log_file.absolute()
    command = server_command(given.words(), pid_file, chosen)
    running = start_server(
        Launch(command, pid_file, chosen, environment=given.environment(os.environ))
    )
    if running.healed:
        talk("replaced a stale PID file")
    talk(f"the proxy runs: {running.url} (pid {running.pid})")


@also_server_options
@click.command("stop")
@pid_file_option
@click.option(
    "--shutdown-timeout",
    type=click.IntRange(0, 3_600_000),
    metavar="MS",
    help="Milliseconds open requests may go on. Default: what the proxy was started with.",
)
def stop(pid_file: Path | None, shutdown_timeout: int | None) -> None:
    """Stop the proxy in the background.

    Open requests may finish. A proxy that does not begin to stop within 5 seconds is
    killed. Exits 0 as well if none was running. The other options of start are taken too
    and mean nothing here.
    """
    from confide.daemon import stop as stop_server

    drain_s = None if shutdown_timeout is None else shutdown_timeout / 1000
    stopped = stop_server(pid_file or default_pid_file(), drain_s=drain_s)
    said = {
        "stopped": f"the proxy stopped (pid {stopped.pid})",
        "hurried": f"the proxy stopped late (pid {stopped.pid}); open answers were cut off",
        "killed": f"the proxy did not react and was killed (pid {stopped.pid})",
        "stale": "no proxy runs; its stale PID file was removed",
        "not-running": "no proxy runs",
    }
    talk(said[stopped.outcome])


@also_server_options
@click.command("status")
@pid_file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(pid_file: Path | None, as_json: bool) -> None:
    """Say whether the proxy in the background runs and answers.

    Its state is starting, serving, draining or stopped. Exits 0 if it answers, 1 if it does
    not run, 5 if it runs and does not answer. The other options of start are taken too and
    mean nothing here.

    \b
    Example:
      $ confidential-proxy status --json
    """
    from confide.daemon import status as ask_status

    shown = ask_status(pid_file or default_pid_file())
    emit(shown, as_json)
    if shown["state"] == "stopped":
        raise SystemExit(EXIT_FAILED)
    if not shown["reachable"]:
        raise SystemExit(EXIT_UNREACHABLE)


@click.command("log")
@pid_file_option
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Log file. Default: that of the running proxy, or the default of start.",
)
@click.option("-n", "--lines", default=50, show_default=True, help="Lines to print first.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
def log(pid_file: Path | None, log_file: Path | None, lines: int, follow: bool) -> None:
    """Print the last lines of the log of the proxy in the background.

    One JSON object per line: what happened, how long it took, how it ended. There is no
    content in it, at any level.
    """
    path = log_file or _noted_log(pid_file) or default_log_file()
    try:
        for line in _lines(path, lines, follow=follow):
            click.echo(printable(line), nl=False)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no log file {path}", hint="say which: confide proxy log --log-file FILE"
        ) from None


def _noted_log(pid_file: Path | None) -> Path | None:
    from confide.daemon import look

    found = look(pid_file or default_pid_file())
    noted = found.facts.get("log_file") if found else None
    if found and found.alive and noted is None and "log_file" in found.facts:
        # The default file may hold the log of an earlier one.
        raise ConfigError(
            "the running proxy writes no log file: it was started with --log-file -, or not by"
            " start",
            hint="for the log of an earlier one: confidential-proxy log --log-file FILE",
        )
    return Path(noted) if isinstance(noted, str) else None


def _lines(path: Path, count: int, *, follow: bool) -> Iterator[str]:
    """The last lines of a file, then those that come; a rotated file is reopened."""
    file = path.open(errors="replace")
    try:
        yield from collections.deque(file, maxlen=max(0, count))
        while follow:
            if line := file.readline():
                yield line
                continue
            time.sleep(_FOLLOW_S)
            if path.exists() and not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.close()
                file = path.open(errors="replace")
    finally:
        file.close()
