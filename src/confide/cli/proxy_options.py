"""Options that every command takes which may start a proxy, and the settings they make."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from confide.errors import ConfigError

if TYPE_CHECKING:
    from confide.config.proxy import ProxySettings

__all__ = [
    "Given",
    "also_server_options",
    "default_log_file",
    "default_pid_file",
    "pid_file_option",
    "server_options",
]

Command = TypeVar("Command", bound=Callable[..., Any])

_LEVELS = ("error", "warn", "warning", "info", "http", "verbose", "debug", "silly")
_MAX_SECRET = 4096  # characters of a key that is read from a file or from standard input

# Parameter, option as given to a proxy that is started, setting.
_PASSED = {
    "gateway": ("--gateway", "gateway_url"),
    "enclave_url": ("--enclave-url", "enclave_url"),
    "endpoints": ("--endpoints", "endpoints_url"),
    "policy": ("--policy", "policy_file"),
    "key_file": ("--api-key-file", "api_key_file"),
    "wrapping_key_file": ("--client-kek-file", None),
    "compat": ("--compat", "compat"),
    "host": ("--host", "host"),
    "port": ("--port", "port"),
    "json_body_limit": ("--json-body-limit", "json_body_limit"),
    "log_level": ("--log-level", "log_level"),
    "shutdown_timeout": ("--shutdown-timeout", None),
    "config": ("--config", None),
}


def _file(_: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """Check that a file is there. The value is never repeated: it may be the secret itself."""
    if value is None or (value == "-" and parameter.name == "key_file"):
        return None if value is None else Path("-")
    path = Path(value)
    if not path.is_file():
        raise click.BadParameter(
            "names no file. A secret itself does not belong here: every program on this machine"
            " can read a command line. Write it to a file.",
            param=parameter,
        )
    return path


_OPTIONS = (
    click.option(
        "--gateway", "--proxy-url", "gateway", metavar="URL", help="Base URL of the gateway."
    ),
    click.option(
        "--enclave-url",
        metavar="URL",
        help="Use only this enclave, and ask it for its key document and evidence itself.",
    ),
    click.option(
        "--endpoints",
        metavar="URL",
        help="Look up gateway and enclave at this URL once; pinned in the data directory.",
    ),
    click.option(
        "--policy",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Appraisal policy (TOML). Required.",
    ),
    click.option(
        "--api-key",
        "--api-key-file",
        "key_file",
        callback=_file,
        metavar="FILE",
        help="File with the API key for the gateway; - reads it from standard input. Default:"
        " the bearer credential of each request.",
    ),
    click.option(
        "--client-kek-file",
        "wrapping_key_file",
        callback=_file,
        metavar="FILE",
        help="File with the client KEK. Default: client/kek in the data directory.",
    ),
    click.option(
        "--compat",
        type=click.Choice(["openai", "anthropic", "both", "auto"]),
        help="API below /v1; both: /openai/v1 and /anthropic/v1; auto: either. Default: openai.",
    ),
    click.option("--host", metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1."),
    click.option("--port", type=int, metavar="PORT", help="Port to listen on. Default: 8000."),
    click.option("--json-body-limit", metavar="SIZE", help="Longest request body. Default: 32mb."),
    click.option(
        "--log-level",
        type=click.Choice(_LEVELS),
        help="Lowest level of event to log, never content. Default: info.",
    ),
    click.option(
        "--shutdown-timeout",
        type=click.IntRange(0, 3_600_000),
        metavar="MS",
        help="Milliseconds open requests may go on after a stop signal. Default: 30000.",
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Settings file. Default: confide.toml in the data directory.",
    ),
)

pid_file_option = click.option(
    "--pid-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="PID file. Default: proxy.pid in the data directory.",
)


def server_options(command: Command) -> Command:
    """Add the options to a command; it gets them as keyword arguments for `Given`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def also_server_options(command: click.Command) -> click.Command:
    """Let a command take the options of `start`, which mean nothing to it.

    One set of options, kept in a script or an alias, then serves every command. Their values
    are not looked at: a policy file that is gone is no reason not to stop.
    """

    @server_options
    @click.option("--log-file", help="As for start.")
    def start(**_: object) -> None:
        """Has the options."""

    own = {name for parameter in command.params for name in parameter.opts}
    for option in click.command()(start).params:
        if isinstance(option, click.Option) and own.isdisjoint(option.opts):
            option.type, option.callback = click.STRING, None
            option.hidden, option.expose_value = True, False
            command.params.append(option)
    return command


def default_pid_file() -> Path:
    """The PID file of the daemon of this data directory."""
    from confide.config.sources import home_directory

    return home_directory() / "proxy.pid"


def default_log_file() -> Path:
    """The log file of the daemon of this data directory."""
    from confide.config.sources import home_directory

    return home_directory() / "logs" / "confidential-proxy.log"


class Given:
    """The options of one call.

    Args:
        options: What the command got: parameter to value, None if not given.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._secret: str | None = None
        if self._options.get("key_file") == Path("-"):
            del self._options["key_file"]
            self._secret = sys.stdin.readline(_MAX_SECRET).strip()
            if not self._secret:
                raise ConfigError("there was no API key on standard input")

    @property
    def any(self) -> bool:
        """Whether an option was given at all."""
        return self._secret is not None or any(v is not None for v in self._options.values())

    def settings(self, **further: object) -> ProxySettings:
        """Resolve the settings; these options win.

        Args:
            further: Settings that win over the options.

        Raises:
            ConfigError: A value is not usable.
        """
        from confide.config.proxy import ProxySettings
        from confide.config.sources import resolve

        flags: dict[str, object] = {
            setting: self._options.get(name) for name, (_, setting) in _PASSED.items() if setting
        }
        flags["api_key"] = self._secret
        if (milliseconds := self._options.get("shutdown_timeout")) is not None:
            flags["shutdown_timeout_s"] = milliseconds / 1000
        if (file := self._options.get("wrapping_key_file")) is not None:
            flags["client_kek"] = _secret_in(file)
        path = self._options.get("config")
        return resolve(ProxySettings, "proxy", flags={**flags, **further}, path=path).settings

    def words(self, **further: object) -> list[str]:
        """The same options for the command line of a proxy; never a secret.

        Args:
            further: Parameters that win over the options.
        """
        values = {**self._options, **further}
        return [
            word
            for name, (option, _) in _PASSED.items()
            if values.get(name) is not None
            for word in (option, str(values[name]))
        ]

    def environment(self, names: Mapping[str, str]) -> dict[str, str]:
        """The environment for that command line; a secret from standard input is in it."""
        if self._secret is None:
            return dict(names)
        return {**names, "CONFIDE_PROXY__API_KEY": self._secret}


def _secret_in(path: Path) -> str:
    try:
        with path.open() as file:
            return file.read(_MAX_SECRET)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}") from error
