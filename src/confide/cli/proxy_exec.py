"""`confide proxy exec` and `confidential-claude`: one program, wired to the proxy.

The proxy of the PID file is used if it runs; else that of a running `confide up`; else one is
started on a free port for as long as the program runs.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from confide.cli.output import report, talk
from confide.cli.proxy_daemon import prepare, server_command
from confide.cli.proxy_options import Given, default_pid_file, pid_file_option, server_options
from confide.errors import ConfigError

if TYPE_CHECKING:
    from confide.daemon import Running

__all__ = ["claude", "exec_"]

_KEY_OF_THE_PROXY = "the-proxy-has-the-key"
_CLAUDE_PACKAGE = "@anthropic-ai/claude-code"
_CLAUDE_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
_CLAUDE_MODELS = (
    "ANTHROPIC_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
)


@dataclass(frozen=True)
class _Way:
    """How a program reaches the proxy."""

    openai_url: str
    anthropic_url: str
    key: str
    compat: str | None = None

    def environment(self) -> dict[str, str]:
        from confide.daemon.programs import environment_for

        return environment_for(
            os.environ, openai_url=self.openai_url, anthropic_url=self.anthropic_url, key=self.key
        )


@click.command("exec", context_settings={"allow_interspersed_args": False})
@server_options
@pid_file_option
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(
    context: click.Context, /, pid_file: Path | None, program: tuple[str, ...], **options: Any
) -> None:
    """Run PROGRAM wired to the proxy, and exit as it does.

    Sets OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_AUTH_TOKEN for the
    program only. Uses the proxy in the background, or that of a running confide up; if there
    is none, starts one for as long as the program runs, with the other options.

    \b
    Example:
      $ confide proxy exec -- python my_agent.py
    """
    with _way(Given(options), pid_file) as way:
        context.exit(_run(program, way.environment()))


@click.command(
    "claude",
    context_settings={
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def claude(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run Claude Code wired to the proxy; ARGUMENTS are its own.

    Like exec, with settings from the environment and the settings file. Claude Code's
    traffic besides the model's is turned off, and it asks for the first model that is
    offered unless ANTHROPIC_MODEL says otherwise. The program confidential-claude is the
    same.

    \b
    Example:
      $ confidential-claude -p "Explain this repository"
    """
    found = shutil.which("claude")
    if found is None:
        raise ConfigError(
            "Claude Code is not installed: there is no program claude on PATH",
            hint=f"npm install -g {_CLAUDE_PACKAGE}",
        )
    with _way(Given({}), None) as way:
        if way.compat == "openai":
            raise ConfigError(
                "the running proxy speaks OpenAI's API only, and Claude Code speaks Anthropic's",
                hint="confidential-proxy stop; then again, or start one with --compat both",
            )
        environment = {**_CLAUDE_QUIET, **way.environment()}
        model = environment.get("ANTHROPIC_MODEL") or _first_model(way)
        environment = {**dict.fromkeys(_CLAUDE_MODELS, model), **environment}
        context.exit(_run((found, *arguments), environment))


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> int:
    from confide.daemon.programs import EXIT_CODES, run_program

    try:
        return run_program(command, environment)
    except ConfigError as error:
        report(error)
        return EXIT_CODES[error.code]


@contextmanager
def _way(given: Given, pid_file: Path | None) -> Iterator[_Way]:
    """Find a proxy or start one; a started one is stopped at the end."""
    if way := _way_of_daemon(pid_file or default_pid_file()) or _way_of_up():
        yield way
        return
    from confide.daemon import stop

    _sweep(default_pid_file().parent)
    own = default_pid_file().with_name(f"exec-{os.getpid()}-{secrets.token_hex(4)}.pid")
    log = own.with_suffix(".log")
    try:
        running = _start(given, own, log)  # it ends when this object's pipe is closed
        talk(f"started a proxy for this program: {running.url}")
        yield _way_to(running.facts)
    finally:
        stop(own, drain_s=0)
        for left in own.parent.glob(f"{log.name}*"):
            left.unlink()


def _sweep(home: Path) -> None:
    """Remove the files of launchers that were killed; their proxies ended with them."""
    for left in home.glob("exec-*"):
        pid = left.name.split("-")[1]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (PermissionError, ValueError):
            continue


def _way_of_daemon(pid_file: Path) -> _Way | None:
    from confide.daemon import look
    from confide.daemon.probe import ask

    found = look(pid_file)
    if found is None or found.state != "serving" or ask(found.facts) is None:
        return None
    return _way_to(found.facts)


def _way_of_up() -> _Way | None:
    """The proxy of a running `confide up`, by the variables it left in the data directory."""
    from confide.config.sources import home_directory
    from confide.daemon.probe import ask

    try:
        text = (home_directory() / "client.env").read_text()
    except OSError:
        return None
    words = (word for line in text.splitlines() for word in shlex.split(line, comments=True))
    written = dict(word.split("=", 1) for word in words if "=" in word)
    openai_url = written.get("OPENAI_BASE_URL", "")
    host, _, port = openai_url.removeprefix("http://").partition("/")[0].rpartition(":")
    answer = ask({"host": host, "port": port})
    if answer is None or answer.get("status") != "ok":
        return None
    return _Way(
        openai_url, written.get("ANTHROPIC_BASE_URL", ""), written.get("OPENAI_API_KEY", "")
    )


def _start(given: Given, pid_file: Path, log: Path) -> Running:
    from confide.daemon import Launch, start

    settings = given.settings(port=0)
    if settings.api_key is None and settings.api_key_file is None:
        _own_key()  # refuse before anything is started
    prepare(settings)
    environment = given.environment(os.environ)
    # Both dialects, so that any program finds its own.
    environment.setdefault("CONFIDE_PROXY__COMPAT", "both")
    command = [*server_command(given.words(port=0), pid_file, log), "--with-parent"]
    return start(Launch(command, pid_file, log, environment, with_parent=True))


def _way_to(facts: Mapping[str, object]) -> _Way:
    from confide.daemon.probe import url_of

    key = _KEY_OF_THE_PROXY if facts.get("own_key") else _own_key()
    compat = facts.get("compat")
    url = url_of(facts)
    if compat == "both":
        return _Way(f"{url}/openai/v1", f"{url}/anthropic", key, "both")
    return _Way(f"{url}/v1", url, key, compat if isinstance(compat, str) else None)


def _own_key() -> str:
    key = os.environ.get("CONFIDE_API_KEY", "")
    if not key:
        raise ConfigError(
            "there is no API key for the gateway",
            hint="set CONFIDE_API_KEY, or start the proxy with --api-key-file FILE",
        )
    return key


def _first_model(way: _Way) -> str:
    import httpx2

    try:
        answer = httpx2.get(
            f"{way.anthropic_url}/v1/models",
            headers={"authorization": f"Bearer {way.key}"},
            timeout=60,
            trust_env=False,
        )
        return str(answer.json()["data"][0]["id"])
    except (httpx2.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(
            "the proxy offers no model for Claude Code",
            hint="confide chat 'Hello' shows what is wrong; or set ANTHROPIC_MODEL",
        ) from error
