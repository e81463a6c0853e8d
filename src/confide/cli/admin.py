"""`confide admin`: API keys, domains, enclaves and usage, on the machine of the gateway."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from confide.cli.gateway import config_option, settings_from
from confide.cli.output import emit, talk
from confide.errors import ConfigError

if TYPE_CHECKING:
    from confide.gateway.accounts import Accounts
    from confide.identity.records import ApiKeyRecord, DomainRecord

__all__ = ["admin", "parse_lifetime", "register"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_UNITS: Final = {"h": 3600, "d": 86400, "w": 604800}
_LONGEST_S: Final = 100 * 365 * 86400


def parse_lifetime(text: str) -> int:
    """Turn "12h", "30d" or "4w" into seconds.

    Raises:
        click.BadParameter: Anything else.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([hdw])", text.strip(), re.ASCII)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST_S:
        raise click.BadParameter("a lifetime is a number and h, d or w, such as 30d")
    return seconds


@click.group()
def admin() -> None:
    """Manage API keys, enclaves and usage of a gateway.

    Works on the gateway's database; a running gateway follows within a second.
    """


@admin.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command("create")
@config_option
@click.option("--label", default="", help="A note for yourself, up to 200 characters.")
@click.option("--domain", default="default", show_default=True, help="Domain it belongs to.")
@click.option("--expires", metavar="30d", help="Lifetime: hours, days or weeks. Default: none.")
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Own rate.")
@click.option("--burst", type=click.IntRange(min=1), help="Own burst.")
@click.option("--streams", type=click.IntRange(min=1), help="Own number of answers in flight.")
@_json_option
def create_key(
    path: Path | None,
    label: str,
    domain: str,
    expires: str | None,
    requests_per_minute: int | None,
    burst: int | None,
    streams: int | None,
    as_json: bool,
) -> None:
    """Create an API key and show it, once.

    The gateway keeps a digest; a lost key cannot be shown again, only replaced.

    \b
    Example:
      $ confide admin keys create --label "ada's laptop" --expires 30d
      id          key_9f1c2b7a55d0e3f4
      key         ck_4dC...
      expires_at  2026-12-21 09:00 UTC
    """
    from confide.gateway.setup import prepare
    from confide.identity.api_keys import mint

    if len(label) > 200:
        raise ConfigError("a label has at most 200 characters")
    now = _now()
    lifetime = parse_lifetime(expires) if expires else None
    settings = settings_from(path)
    state = prepare(settings)
    clear, record = mint(
        state.pepper,
        now=now,
        domain=domain,
        label=label,
        expires_at=None if lifetime is None else int(now) + lifetime,
        requests_per_minute=requests_per_minute,
        burst=burst,
        max_streams=streams,
    )
    _accounts(settings.database).add_key(record)
    talk("this is the only time the key is shown")
    emit(
        {
            "id": record.id,
            "key": clear.reveal(),
            "domain": record.domain,
            "expires_at": _moment(record.expires_at, as_json),
        },
        as_json,
    )


@keys.command("list")
@config_option
@_json_option
def list_keys(path: Path | None, as_json: bool) -> None:
    """List keys, revoked ones included. A key is shown by its last four characters."""
    records = _accounts(settings_from(path).database).keys()
    emit([_key_row(record, as_json) for record in records], as_json)


@keys.command("revoke")
@click.argument("key_id")
@config_option
@_json_option
def revoke_key(key_id: str, path: Path | None, as_json: bool) -> None:
    """Revoke the key with the id KEY_ID for good. Answers in flight finish."""
    done = _accounts(settings_from(path).database).revoke_key(key_id, now=_now())
    if not done:
        talk(f"{key_id} was revoked before")
    emit({"id": key_id, "revoked": True}, as_json)


@admin.group()
def domains() -> None:
    """Set and list domains: what their keys may use, and how it is counted."""


@domains.command("set")
@click.argument("domain")
@config_option
@click.option("--model", "models", multiple=True, help="A model it may use. Default: all.")
@click.option(
    "--operation", "operations", multiple=True, help="chat, embeddings, ... Default: all."
)
@click.option(
    "--usage",
    "policy",
    type=click.Choice(["bucketed", "exact"]),
    default="bucketed",
    show_default=True,
    help="How exactly tokens are counted; exact tells lengths.",
)
@_json_option
def set_domain(
    domain: str,
    path: Path | None,
    models: tuple[str, ...],
    operations: tuple[str, ...],
    policy: Literal["bucketed", "exact"],
    as_json: bool,
) -> None:
    """Create the domain DOMAIN, or replace what its keys may do.

    The enclave enforces it inside the seal: the gateway does not see which model is asked.

    \b
    Example:
      $ confide admin domains set research --model small --operation chat
    """
    from confide.identity.records import ANY, OPERATIONS, DomainRecord

    record = DomainRecord(
        domain, models or (ANY,), operations or OPERATIONS, policy, created_at=int(_now())
    )
    _accounts(settings_from(path).database).put_domain(record)
    emit(_domain_row(record), as_json)


@domains.command("list")
@config_option
@_json_option
def list_domains(path: Path | None, as_json: bool) -> None:
    """List domains."""
    found = _accounts(settings_from(path).database).domains()
    emit([_domain_row(record) for record in found], as_json)


@admin.group()
def enclaves() -> None:
    """Add, list and remove enclaves."""


@enclaves.command("add")
@click.argument("url")
@config_option
@_json_option
def add_enclave(url: str, path: Path | None, as_json: bool) -> None:
    """Add the enclave at the base URL, such as http://10.0.0.5:8002."""
    from confide.gateway.addresses import enclave_url

    added = _accounts(settings_from(path).database).add_enclave(url, now=_now())
    emit({"enclave": enclave_url(url), "added": added}, as_json)


@enclaves.command("list")
@config_option
@_json_option
def list_enclaves(path: Path | None, as_json: bool) -> None:
    """List enclaves of the settings and of the database, and how their evidence was judged.

    The judgement is that of the gateway that runs on this database: accepted, refused (with
    the error code and the factor that failed), or not checked. Nothing is routed to an
    enclave whose evidence is not accepted.
    """
    from confide.gateway.addresses import enclave_url
    from confide.gateway.standings import read_standings

    settings = settings_from(path)
    known = [(enclave_url(url), "settings") for url in settings.enclaves]
    known += [(url, "database") for url in _accounts(settings.database).enclaves()]
    standings = read_standings(settings.database)
    rows = []
    for url, origin in known:
        row = standings.get(url)
        rows.append(
            {
                "enclave": url,
                "from": origin,
                "evidence": row["evidence"] if row else "not checked",
                "platform": row["platform"] if row else None,
                "code": row["code"] if row else None,
                "factor": row["factor"] if row else None,
                "until": _moment(row["until"], as_json) if row else None,
            }
        )
    emit(rows, as_json)


@enclaves.command("remove")
@click.argument("url")
@config_option
@_json_option
def remove_enclave(url: str, path: Path | None, as_json: bool) -> None:
    """Remove the enclave at the base URL. Answers in flight finish."""
    from confide.gateway.addresses import enclave_url

    removed = _accounts(settings_from(path).database).remove_enclave(url)
    if not removed:
        raise ConfigError(
            f"the database has no enclave {enclave_url(url)}", hint="confide admin enclaves list"
        )
    emit({"enclave": enclave_url(url), "removed": True}, as_json)


@admin.command()
@config_option
@click.option("--since", metavar="7d", default="30d", show_default=True, help="How far back.")
@click.option("--key", "key_id", metavar="KEY_ID", help="Only this key.")
@_json_option
def usage(path: Path | None, since: str, key_id: str | None, as_json: bool) -> None:
    """Show usage per day and key, and whether the enclaves' statements add up.

    Tokens come from statements that the enclaves signed; the gateway cannot count them.
    """
    accounts = _accounts(settings_from(path).database)
    rows = accounts.usage(since=int(_now()) - parse_lifetime(since), key_id=key_id)
    days = [{**row, "day": _day(row["day"])} for row in rows]
    refused = [chain for chain in accounts.chains() if chain["problem"]]
    missing = accounts.without_statement()
    if as_json:
        emit({"days": days, "refused_chains": refused, "without_statement": missing}, as_json)
        return
    emit(days)
    if missing:
        talk(f"{missing} completed requests have no signed statement (yet)")
    for chain in refused:
        talk(
            f"statements of {chain['enclave']} after number {chain['through']} are refused:"
            f" {chain['problem']}"
        )


def register(group: click.Group) -> None:
    """Add the `admin` commands to a group."""
    group.add_command(admin)


def _now() -> float:
    return time.time()  # noqa: TID251 - the command line is where the wall clock enters


def _accounts(database: Path) -> Accounts:
    from confide.gateway.accounts import Accounts

    return Accounts(database)


def _key_row(record: ApiKeyRecord, as_json: bool) -> dict[str, object]:
    return {
        "id": record.id,
        "key": f"ck_...{record.tail}",
        "label": record.label,
        "domain": record.domain,
        "state": _state(record),
        "created_at": _moment(record.created_at, as_json),
        "expires_at": _moment(record.expires_at, as_json),
        "last_used_on": _day(record.last_used_on),
    }


def _domain_row(record: DomainRecord) -> dict[str, object]:
    return {
        "domain": record.id,
        "models": list(record.models),
        "operations": list(record.operations),
        "usage": record.usage,
    }


def _state(record: ApiKeyRecord) -> str:
    if record.revoked_at is not None:
        return "revoked"
    if record.expires_at is not None and record.expires_at <= _now():
        return "expired"
    return "active"


def _moment(seconds: int | None, as_json: bool) -> object:
    if seconds is None or as_json:
        return seconds
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _day(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()
