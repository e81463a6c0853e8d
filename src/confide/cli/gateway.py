"""`confide gateway`: make, upgrade and serve the blind gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.cli.output import emit, talk

if TYPE_CHECKING:
    from confide.config.gateway import GatewaySettings

__all__ = ["config_option", "gateway", "register", "settings_from"]

config_option = click.option(
    "--config",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file. Default: confide.toml in the data directory.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def settings_from(path: Path | None, **flags: object) -> GatewaySettings:
    """Resolve the gateway's settings.

    Args:
        path: Settings file, or None for the default one.
        flags: Field name to value; None means that the flag was not given.

    Raises:
        ConfigError: An unknown name or a value that is refused.
    """
    from confide.config.gateway import GatewaySettings
    from confide.config.sources import resolve

    return resolve(GatewaySettings, "gateway", flags=flags, path=path).settings


@click.group()
def gateway() -> None:
    """Serve the blind gateway; migrate its database."""


@gateway.command()
@config_option
@click.option("--host", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on. Default: 8001.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Appraisal policy (TOML): which enclaves requests may reach. Required, here or as"
    " policy_file.",
)
def serve(path: Path | None, host: str | None, port: int | None, policy: Path | None) -> None:
    """Serve until a stop signal; answers in flight finish first.

    Each enclave is challenged before anything is routed to it, and again at least every
    10 minutes; one whose evidence the policy refuses gets no request. Clients verify for
    themselves all the same.

    Makes the database and its keys on the first start. Events go to standard error as JSON
    lines; they hold no content, no API key and no address.
    """
    from confide.apps.gateway import policy_verifier, serve_gateway
    from confide.attest.policy import Profile

    settings = settings_from(path, host=host, port=port, policy_file=policy)
    verifier = policy_verifier(settings)
    if verifier.policy.profile is not Profile.PRODUCTION:
        talk(f"confide: LAB ONLY: {verifier.policy.name} is no policy for production")
    serve_gateway(settings, verifier=verifier)


@gateway.command()
@config_option
@_json_option
def init(path: Path | None, as_json: bool) -> None:
    """Make the database, the grant key and the pepper, and print the public grant key.

    The public key belongs into the settings of every enclave (gateway_public_key). Running
    it again changes nothing and prints the same.

    \b
    Example:
      $ confide gateway init
      database          /home/ada/.local/share/confide/gateway/gateway.db
      grant_public_key  lq0c7mW0m3Yw1V2R5m0ohQm4jv6sS7d1Wn0YQ8n0h3o
    """
    from confide.gateway.setup import prepare

    state = prepare(settings_from(path))
    emit({"database": state.database, "grant_public_key": state.grant_public_key}, as_json)


@gateway.command()
@config_option
@_json_option
def migrate(path: Path | None, as_json: bool) -> None:
    """Bring the database to this version's schema, keeping a copy from before.

    The upgrade happens in one transaction: it succeeds, or the database is as it was. Stop
    the gateway first.
    """
    from confide.gateway.migrate import migrate as upgrade
    from confide.gateway.schema import REVISION

    settings = settings_from(path)
    backup = upgrade(settings.database)
    if backup is not None:
        talk(f"a copy from before is {backup}")
    emit({"database": settings.database, "revision": REVISION, "backup": backup}, as_json)


def register(group: click.Group) -> None:
    """Add the `gateway` commands to a group."""
    group.add_command(gateway)
