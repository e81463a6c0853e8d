"""`confide policy`: the file that says which enclaves are good enough."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from confide.cli.dates import MOMENT, now
from confide.cli.output import EXIT_FAILED, emit, paint, printable, report, talk
from confide.cli.release import store_option
from confide.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confide.attest.policy import AppraisalPolicy

__all__ = ["register"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW = click.Path(path_type=Path, dir_okay=False)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_at = click.option("--at", type=MOMENT, metavar="DATE", help="Check as of then. Default: now.")
_LIFETIME: Final = timedelta(days=90)
_EXIT_LOOSENED: Final = EXIT_FAILED


@click.group("policy")
def policy() -> None:
    """Write, check and compare appraisal policies.

    A policy is a file of yours that says which enclaves are good enough. Every key is in
    docs/reference/policy-file.md.
    """


@policy.command("init")
@click.argument("file", type=_NEW)
@click.option("--release", type=_FILE, metavar="FILE", help="Take measurements of this release.")
@click.option(
    "--from-evidence",
    type=_FILE,
    metavar="BUNDLE",
    help="Take what an enclave showed (confide verify --save). Trust on first use.",
)
@click.option("--name", metavar="TEXT", help="Default: made of the release's name.")
@click.option("--not-after", type=MOMENT, metavar="DATE", help="Default: in 90 days.")
@store_option
def _init(
    file: Path,
    release: Path | None,
    from_evidence: Path | None,
    name: str | None,
    not_after: datetime | None,
    store: Path | None,
) -> None:
    """Write a policy to FILE, with comments. Never replaces a file.

    With --release the measurements are those of a signed release, checked as confide
    release verify does. With --from-evidence they are whatever the enclave showed: the
    evidence must be genuine, but nobody vouches for the program, so the profile is lab.

    \b
    Example:
      $ confide policy init production.toml --release release.json
    """
    from confide.attest.collateral import EndorsementCache, Found
    from confide.cli.policy_init import from_bundle, from_release
    from confide.config.sources import home_directory

    if (release is None) == (from_evidence is None):
        raise click.UsageError("give --release FILE or --from-evidence BUNDLE")
    at = now()
    end = not_after or at + _LIFETIME
    if release is not None:
        text = from_release(release, store, name=name, not_after=end)
    else:
        assert from_evidence is not None  # noqa: S101 - one of the two was given
        # As `confide verify --bundle`: what is newest now sets no floor for what was saved.
        held = (Found(EndorsementCache(home_directory() / "endorsements")),)
        text = from_bundle(from_evidence, name=name, not_after=end, endorsements=held)
    _load(text.encode(), at)
    from confide.cli.new_files import write_new

    write_new(file, text.encode())
    talk(f"confide: wrote {file}; read it, then: confide policy check {file}")


@policy.command("check")
@click.argument("file", type=_FILE)
@_at
@_json
def _check(file: Path, at: datetime | None, as_json: bool) -> int:
    """Say in words what FILE demands, and what deserves a second look.

    Exits 0 if clients accept the file, 1 if they refuse it. Warnings do not change that.

    \b
    Example:
      $ confide policy check production.toml
    """
    from confide.cli.policy_words import demands, warnings

    moment = at or now()
    raw = _read(file)
    try:
        loaded, table = _load(raw, moment)
    except ConfigError as error:
        if as_json:
            failure = {"code": error.code, "message": str(error), "hint": error.hint}
            click.echo(json.dumps({"valid": False, "error": failure}, indent=2))
        return report(error)
    found = {
        "valid": True,
        "name": loaded.name,
        "profile": str(loaded.profile),
        "sha256": loaded.digest.hex(),
        "not_after": loaded.expires_at.isoformat(),
        "demands": demands(table),
        "warnings": warnings(table, not_after=loaded.expires_at, at=moment),
    }
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    click.echo(f"{printable(loaded.name)}, for {loaded.profile}, until {loaded.expires_at}")
    click.echo(f"sha256 {loaded.digest.hex()}")
    for line in demands(table):
        click.echo(f"  {printable(line)}")
    for line in warnings(table, not_after=loaded.expires_at, at=moment):
        click.echo(f"{paint('warning', 'yellow')}: {printable(line)}")
    return 0


@policy.command("diff")
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@_at
@_json
def _diff(old: Path, new: Path, at: datetime | None, as_json: bool) -> int:
    """Say what NEW accepts that OLD did not, and the reverse.

    Compares meaning and not text: order, comments and written-out defaults are no change.
    Exits 1 if anything is looser, so that a review can stop there, and 0 otherwise. OLD may
    have expired; NEW may not.

    \b
    Example:
      $ confide policy diff production.toml next.toml
    """
    from confide.cli.policy_diff import Effect, differences

    _, after = _load(_read(new), at or now())
    _, before = _load(_read(old), datetime.min.replace(tzinfo=UTC))
    changes = differences(before, after)
    emit([change.to_json() for change in changes], as_json)
    if not changes:
        talk("confide: both accept the same")
    loosened = any(change.effect is Effect.LOOSENED for change in changes)
    return _EXIT_LOOSENED if loosened else 0


@policy.command("import-rim")
@click.argument("file", type=_FILE)
@click.option("--driver", type=_FILE, metavar="RIM", help="Driver manifest; none for NVSwitch.")
@click.option("--vbios", type=_FILE, metavar="RIM", required=True, help="VBIOS manifest.")
@_at
@_json
def _import_rim(
    file: Path, driver: Path | None, vbios: Path, at: datetime | None, as_json: bool
) -> None:
    """Verify NVIDIA's reference manifests and add their hashes to FILE.

    Signatures, chain to NVIDIA's root and dates are checked as of --at; clients then compare
    hashes and read no XML. FILE is replaced in one step or not at all. Needs the extra rim.

    \b
    Example:
      $ confide policy import-rim production.toml --driver driver.swidtag --vbios vbios.swidtag
    """
    from confide.cli.policy_rim import with_golden

    moment = at or now()
    raw = _read(file)
    changed, added = with_golden(raw, driver=driver, vbios=vbios, at=moment)
    _load(changed, now())
    from confide.cli.new_files import write_over

    if changed != raw:
        write_over(file, changed)
    emit(added, as_json)


def _read(file: Path) -> bytes:
    from confide.attest.policy_file import MAX_POLICY
    from confide.cli.new_files import read_file

    return read_file(file, limit=MAX_POLICY)


def _load(raw: bytes, at: datetime) -> tuple[AppraisalPolicy, Mapping[str, object]]:
    from confide.attest.policy_file import parse, read_tables

    table = parse(raw)
    return read_tables(table, at=at, file_sha256=hashlib.sha256(raw).digest()), table


def register(group: click.Group) -> None:
    """Add the commands to the root group."""
    group.add_command(policy)
