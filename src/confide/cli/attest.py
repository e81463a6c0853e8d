"""`confide verify`: fetch evidence, check every factor, say whose failure it is."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from confide.cli.output import talk

if TYPE_CHECKING:
    from confide.attest.policy import AppraisalPolicy
    from confide.cli.attest_run import Outcomes

__all__ = ["register"]


@click.command("verify")
@click.argument("url", required=False)
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
    help="Write what was fetched here as well: a bundle that --bundle reads.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Check a saved bundle instead of URL. Uses no network.",
)
@click.option("--at", metavar="TIME", help="With --bundle: check dates at this UTC time, not now.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report here as well, as one HTML page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the factors and results as JSON.")
def verify(
    url: str | None,
    policy: Path | None,
    nonce: str | None,
    save: Path | None,
    bundle: Path | None,
    at: str | None,
    html: Path | None,
    as_json: bool,
) -> int:
    """Check the enclave behind URL and say why it is trusted, or not.

    Sends no prompt and needs no API key. Each factor is PASS, FAIL, SKIP (not examined,
    which never counts as trust) or N-A. Exits 0 if all evidence is genuine and the policy
    accepts it, 3 if any is refused, 4 if the gateway refuses to serve it, 5 if it could
    not be fetched. SIMULATED evidence is always refused.

    Evidence is valid for a day at most, so a bundle of last week is checked --at a time of
    last week.

    \b
    Example:
      $ confide verify https://gateway.example.org --policy production.toml
      $ confide verify --bundle saved.json --policy production.toml --at 2026-11-20T12:00:00Z
    """
    from confide import __version__
    from confide.cli.attest_bundle import write_file
    from confide.cli.attest_html import render
    from confide.cli.attest_report import print_report

    _check_sources(url, bundle, at=at, nonce=nonce, save=save)
    now = datetime.now(tz=UTC)  # noqa: TID251 - the command line is where the wall clock enters
    moment = now if at is None else _time(at)
    terms = _policy(policy, moment)
    if url is not None:
        outcome = _live(url, terms, nonce, save, moment)
    else:
        outcome = _saved(cast("Path", bundle), terms, moment)
    if html is not None:
        write_file(html, render(outcome, release=f"confide {__version__}").encode())
    print_report(outcome, as_json=as_json)
    if save is not None and not any(one.fetched for one in outcome.examined):
        talk(f"{save} was not written: no evidence was fetched")
    return outcome.exit_code


def _check_sources(url: str | None, bundle: Path | None, **others: object) -> None:
    """Refuse options that mean nothing together."""
    if (url is None) == (bundle is None):
        raise click.UsageError("give either URL or --bundle FILE")
    wrong = ("at",) if url is not None else ("nonce", "save")
    for name in wrong:
        if others[name] is not None:
            there = "with URL" if url is not None else "with --bundle"
            raise click.UsageError(f"--{name} means nothing {there}")


def _live(
    url: str, policy: AppraisalPolicy | None, nonce: str | None, save: Path | None, at: datetime
) -> Outcomes:
    from confide.attest.collateral import EndorsementCache
    from confide.cli.attest_fetch import parse_url
    from confide.cli.attest_run import run
    from confide.config.sources import home_directory

    sources = (EndorsementCache(home_directory() / "endorsements"),)
    return run(
        parse_url(url), policy=policy, nonce=_nonce(nonce), save=save, at=at, endorsements=sources
    )


def _saved(path: Path, policy: AppraisalPolicy | None, at: datetime) -> Outcomes:
    from confide.attest.collateral import EndorsementCache, Found
    from confide.cli.attest_bundle import Bundle
    from confide.cli.attest_run import run_bundle
    from confide.config.sources import home_directory

    # Whoever looks at last week's evidence asks about last week's lists: what is newest now
    # decides nothing about them, and they set no floor.
    sources = (Found(EndorsementCache(home_directory() / "endorsements")),)
    return run_bundle(Bundle.read(path), policy=policy, at=at, endorsements=sources)


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter("must look like 2026-11-20T12:00:00Z", param_hint="--at") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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
