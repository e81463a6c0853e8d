"""`confide proxy`, also installed as `confidential-proxy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from confide.cli.output import talk
from confide.cli.proxy_daemon import log, start, status, stop
from confide.cli.proxy_exec import claude, exec_
from confide.cli.proxy_options import Given, server_options

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add the `proxy` commands to a group."""
    group.add_command(_proxy)


@click.group("proxy", invoke_without_command=True)
@server_options
@click.pass_context
def _proxy(context: click.Context, /, **options: Any) -> None:
    """Run the local proxy that speaks OpenAI's and Anthropic's API.

    Without a command it serves in the foreground, like `run`. The program
    confidential-proxy is the same as confide proxy.

    \b
    Example:
      $ confidential-proxy --gateway https://gateway.example.org --policy production.toml
    """
    if context.invoked_subcommand is None:
        _serve(Given(options), pid_file=None, log_file=None)
    elif any(value is not None for value in options.values()):
        raise click.UsageError(
            f"options go after the command: proxy {context.invoked_subcommand} --option", context
        )


@_proxy.command("run")
@server_options
@click.option(
    "--pid-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write this PID file, so that stop and status find the proxy. Default: none.",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Log here, with rotation at 10 MiB. Default: standard error.",
)
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input ends.")
def _run(pid_file: Path | None, log_file: Path | None, with_parent: bool, **options: Any) -> None:
    """Serve OpenAI's API, Anthropic's or both on this machine until a stop signal.

    Requests are sealed before they leave, to enclaves that the policy accepts. Each option
    can be set in the [proxy] table of the settings file and as CONFIDE_PROXY__NAME; so can
    PROXY_URL, ENCLAVE_URL, CLIENT_KEK, HOST, PORT, JSON_BODY_LIMIT and
    CONFIDENTIAL_PROXY_LOG_LEVEL. An option wins. Exits 1 if it cannot start.

    \b
    Example:
      $ confide proxy run --gateway https://gateway.example.org --policy production.toml
    """
    given = Given(options)
    if with_parent:
        from confide.daemon.lifeline import stop_when_parent_dies

        stop_when_parent_dies()
    _serve(given, pid_file=pid_file, log_file=log_file)


def _serve(given: Given, *, pid_file: Path | None, log_file: Path | None) -> None:
    from confide.apps.proxy import Surroundings, policy_verifier, serve_proxy
    from confide.attest.policy import Profile
    from confide.config.sources import home_directory

    settings = given.settings()
    verifier = policy_verifier(settings)
    if verifier.policy.profile is not Profile.PRODUCTION:
        talk(f"confide: LAB ONLY: {verifier.policy.name} is no policy for production")
    serve_proxy(
        settings,
        verifier=verifier,
        surroundings=Surroundings(home_directory(), pid_file, log_file),
    )


for _command in (start, stop, status, log, exec_, claude):
    _proxy.add_command(_command)
