"""`confide proxy run`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

__all__ = ["SHORT_NAMES", "environment", "register"]

SHORT_NAMES = {"HOST": "host", "PORT": "port", "JSON_BODY_LIMIT": "json_body_limit"}
"""Environment names without our prefix that the proxy reads as well, and their settings."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def register(group: click.Group) -> None:
    """Add the `proxy` commands to a group."""
    group.add_command(_proxy)


@click.group("proxy")
def _proxy() -> None:
    """Run the local proxy that speaks OpenAI's and Anthropic's API."""


@_proxy.command("run")
@click.option("--gateway", metavar="URL", help="Base URL of the gateway.")
@click.option("--policy", type=_FILE, metavar="FILE", help="Appraisal policy (TOML). Required.")
@click.option(
    "--api-key-file",
    type=_FILE,
    metavar="FILE",
    help="API key for the gateway. Default: the bearer credential of each request.",
)
@click.option(
    "--compat",
    type=click.Choice(["openai", "anthropic", "both", "auto"]),
    help="API below /v1; both: /openai/v1 and /anthropic/v1; auto: either. Default: openai.",
)
@click.option("--host", metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=int, metavar="PORT", help="Port to listen on. Default: 8000.")
@click.option("--json-body-limit", metavar="SIZE", help="Longest request body. Default: 32mb.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Lowest level of event to write to stderr. Default: info.",
)
@click.option(
    "--config",
    type=_FILE,
    metavar="FILE",
    help="Settings file. Default: confide.toml in the data directory.",
)
def _run(config: Path | None, gateway: str | None, policy: Path | None, **flags: object) -> None:
    """Serve OpenAI's API, Anthropic's or both on this machine until a stop signal.

    Requests are sealed before they leave, to enclaves that the policy accepts. Each option
    can be set in the [proxy] table of the settings file and as CONFIDE_PROXY__NAME; HOST,
    PORT and JSON_BODY_LIMIT are read as well. Exits 1 if it cannot start.

    \b
    Example:
      $ confide proxy run --gateway https://gateway.example.org --policy production.toml
    """
    from confide.apps.proxy import policy_verifier, serve_proxy
    from confide.config.proxy import ProxySettings
    from confide.config.sources import resolve

    given = {"gateway_url": gateway, "policy_file": policy, **flags}
    settings = resolve(
        ProxySettings, "proxy", flags=given, environment=environment(os.environ), path=config
    ).settings
    serve_proxy(settings, verifier=policy_verifier(settings))


def environment(names: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with short names written out; a full name wins over its short one."""
    full = dict(names)
    for short, setting in SHORT_NAMES.items():
        if names.get(short):
            full.setdefault(f"CONFIDE_PROXY__{setting.upper()}", names[short])
    return full
