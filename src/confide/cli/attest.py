"""`confide verify`: fetch evidence, check every factor, say whose failure it is."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from confide.attest.policy import AppraisalPolicy

__all__ = ["register"]


@click.command("verify")
@click.argument("url")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Appraisal policy (TOML). Default: none, and then nothing is trusted.",
)
@click.option("--nonce", metavar="HEX", help="32-byte challenge. Default: random.")
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was fetched here as well, as one JSON file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the factors and results as JSON.")
def verify(
    url: str, policy: Path | None, nonce: str | None, save: Path | None, as_json: bool
) -> int:
    """Check the enclave behind URL and say why it is trusted, or not.

    Sends no prompt and needs no API key. Each factor is PASS, FAIL, SKIP (not examined,
    which never counts as trust) or N-A. Exits 0 if all evidence is genuine and the policy
    accepts it, 3 if any is refused, 4 if the gateway refuses to serve it, 5 if it could
    not be fetched. SIMULATED evidence is always refused.

    \b
    Example:
      $ confide verify https://gateway.example.org --policy production.toml
    """
    from confide.cli.attest_fetch import parse_url
    from confide.cli.attest_report import print_report
    from confide.cli.attest_run import run

    now = datetime.now(tz=UTC)  # noqa: TID251 - the command line is where the wall clock enters
    outcome = run(
        parse_url(url),
        policy=_policy(policy, now),
        nonce=_nonce(nonce),
        save=save,
        at=now,
    )
    print_report(outcome, as_json=as_json)
    return outcome.exit_code


def _policy(path: Path | None, now: datetime) -> AppraisalPolicy | None:
    from confide.attest.policy_file import read_policy

    return None if path is None else read_policy(path, at=now)


def _nonce(text: str | None) -> bytes:
    if text is None:
        return secrets.token_bytes(32)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise click.BadParameter("must be 64 hex digits (32 bytes)", param_hint="--nonce")
    return bytes.fromhex(text)


def register(group: click.Group) -> None:
    """Add the command to the root group."""
    group.add_command(verify)
