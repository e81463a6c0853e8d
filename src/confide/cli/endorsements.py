"""`confide endorsements`: chip vendors' certificates and lists, for machines without a network."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.cli.output import EXIT_DONE, EXIT_UNREACHABLE, emit, talk

if TYPE_CHECKING:
    from confide.attest.collateral import CachedEndorsement, EndorsementCache
    from confide.cli.endorsements_fetch import Shown

__all__ = ["register"]

_dir_option = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Directory of endorsements. Default: endorsements in the data directory.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def endorsements() -> None:
    """Fetch, carry and list chip vendors' certificates and lists.

    Evidence is checked against data that AMD, Intel and NVIDIA signed. Nothing is fetched
    unless fetch is run; a client without a network imports a bundle, or uses what its gateway
    hands out. Whatever the way, every signature is checked on every use.
    """


@endorsements.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--for", "url", metavar="URL", help="Whatever the enclaves behind URL need.")
@click.option(
    "--saved",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Whatever evidence needs that confide verify --save wrote.",
)
@click.option("--due", is_flag=True, help="Whatever is held and past half of its life.")
@click.option("--again", is_flag=True, help="Fetch also what is held and not due.")
@click.option(
    "--mirror",
    metavar="URL",
    help="Ask this server instead of the vendors: URL/HOST/PATH, by https.",
)
@_dir_option
@_json_option
def fetch(
    keys: tuple[str, ...],
    url: str | None,
    saved: Path | None,
    due: bool,
    again: bool,
    mirror: str | None,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Ask AMD, Intel and NVIDIA, and keep what they answer.

    KEY is a kind and a subject, such as snp/chain:Genoa, snp/crl:Milan,
    tdx/collateral:50806f000000/platform or snp/vek:PRODUCT/CHIP/TCB. What is held is kept
    until half of its life is over; a chip's certificate for good, because AMD limits how
    often it may be asked for. The vendors see this machine's address and which chips it asks
    about. Exits 5 if something could not be fetched.

    \b
    Example:
      $ confide endorsements fetch --for https://gateway.example.org
      $ confide endorsements fetch snp/chain:Genoa snp/crl:Genoa
    """
    from confide.cli.endorsements_fetch import Keeper, parse_key
    from confide.client.vendors import VendorHttp

    if not (keys or url or saved or due):
        raise click.UsageError("say what to fetch: KEY, --for URL, --saved FILE or --due")
    wanted = [parse_key(key) for key in keys]
    at = datetime.now(tz=UTC)  # noqa: TID251 - the command line is where the wall clock enters
    with VendorHttp(mirror) as http:
        keeper = Keeper(_cache(folder), http, at=at, again=again)
        keeper.keys(wanted)
        examined = keeper.evidence(_shown(url, saved, at))
        if due:
            keeper.due()
    if as_json:
        emit({"endorsements": keeper.rows, "evidence": examined if url else []}, as_json)
    else:
        emit([{**row, "until": _day(row["until"])} for row in keeper.rows])
        for one in examined if url else []:
            state = "genuine" if one["genuine"] else "not genuine"
            talk(f"{str(one['document_sha256'])[:16]}  {state}: {one['detail']}")
    return EXIT_UNREACHABLE if keeper.failed else EXIT_DONE


def _shown(url: str | None, saved: Path | None, at: datetime) -> tuple[Shown, ...]:
    from confide.cli.attest_fetch import parse_url
    from confide.cli.endorsements_fetch import from_gateway, from_saved

    shown = () if url is None else from_gateway(parse_url(url), at)
    return shown if saved is None else (*shown, *from_saved(saved))


@endorsements.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only this kind; repeatable.")
@_dir_option
@_json_option
def export(file: Path, kinds: tuple[str, ...], folder: Path | None, as_json: bool) -> None:
    """Write the newest of each endorsement into one JSON file, to be carried.

    \b
    Example:
      $ confide endorsements export endorsements.json
    """
    from confide.attest.collateral import encode_bundle
    from confide.cli.attest_bundle import write_file
    from confide.errors import ConfigError

    cache = _cache(folder)
    wanted = [k for k in dict.fromkeys(line.key for line in cache.entries()) if _is(k.kind, kinds)]
    found = [candidates[0] for key in wanted if (candidates := cache.find(key))]
    if not found:
        raise ConfigError(
            f"there is nothing to export in {cache.folder}",
            hint="confide endorsements fetch --help",
        )
    content = encode_bundle(found)
    write_file(file, content)
    emit({"file": file, "endorsements": len(found), "bytes": len(content)}, as_json)


def _is(kind: str, kinds: tuple[str, ...]) -> bool:
    return not kinds or kind in kinds


@endorsements.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_dir_option
@_json_option
def import_(file: Path, folder: Path | None, as_json: bool) -> None:
    """Take the endorsements of a file that export wrote.

    Nothing in it is believed: signatures and dates are checked when evidence is. Its lists
    replace no newer ones that were seen here.

    \b
    Example:
      $ confide endorsements import endorsements.json
    """
    from confide.attest.collateral import read_bundle_file
    from confide.client.vendors import period_of

    cache = _cache(folder)
    bundle = read_bundle_file(file)
    now = datetime.now(tz=UTC).timestamp()  # noqa: TID251 - the command line has the clock
    for found in bundle:
        cache.add(found, at=now, period=period_of(found))
    emit({"directory": cache.folder, "endorsements": len(bundle)}, as_json)


@endorsements.command("list")
@_dir_option
@_json_option
def list_(folder: Path | None, as_json: bool) -> None:
    """Show what is held, until when, and the newest list that was seen of each issuer.

    STATE is held, due (past half of its life: fetch again), ended, or damaged (changed on
    disk, so it is not used).

    \b
    Example:
      $ confide endorsements list
    """
    cache = _cache(folder)
    now = datetime.now(tz=UTC).timestamp()  # noqa: TID251 - the command line has the clock
    rows: list[dict[str, object]] = [
        {
            "key": str(line.key),
            "state": _state(cache, line, now),
            "bytes": line.size,
            "until": line.period.until if as_json else _day(line.period.until),
            "source": line.source,
        }
        for line in cache.entries()
    ]
    newest: list[dict[str, object]] = [
        {
            "issuer": str(fact.key),
            "number": fact.number,
            "issued_at": int(fact.issued_at.timestamp()),
        }
        for fact in cache.facts()
    ]
    if as_json:
        emit({"endorsements": rows, "newest": newest}, as_json)
        return
    if not rows:
        talk(f"nothing is held in {cache.folder}; confide endorsements fetch --help")
    emit(rows)
    emit([{**row, "issued_at": _day(row["issued_at"])} for row in newest])


def _state(cache: EndorsementCache, line: CachedEndorsement, now: float) -> str:
    if not cache.intact(line):
        return "damaged"
    if line.period.until is not None and now >= line.period.until:
        return "ended"
    return "due" if line.period.due(now) else "held"


def _cache(folder: Path | None) -> EndorsementCache:
    from confide.attest.collateral import EndorsementCache
    from confide.config.sources import home_directory

    return EndorsementCache(folder or home_directory() / "endorsements")


def _day(moment: object) -> str | None:
    if not isinstance(moment, int):
        return None
    from confide.attest.results import show_time

    return show_time(moment)


def register(group: click.Group) -> None:
    """Add the `endorsements` commands to a group."""
    group.add_command(endorsements)
