"""Where `confide keys` gets passphrases, and the options its commands share.

A passphrase is never a word of the command line: it would land in the shell history and
in the process list. It comes from a private file, from CONFIDE_PASSPHRASE or from a prompt.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from confide.errors import PassphraseError

if TYPE_CHECKING:
    from confide.client.keystore import Passphrase, StoreKind

__all__ = [
    "FILE",
    "NEW_FILE",
    "check_possible",
    "existing",
    "file_option",
    "json_option",
    "kind_option",
    "new",
    "now",
    "passphrase_option",
    "store_path",
    "when",
]

FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
NEW_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_LONGEST: Final = 4096

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
file_option = click.option(
    "--path",
    type=NEW_FILE,
    metavar="FILE",
    help="The key store. Default: client/kek in the data directory.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=FILE,
    metavar="FILE",
    help="Private file with the passphrase. Default: CONFIDE_PASSPHRASE, or a prompt.",
)


def kind_option(
    default: str | None = "keyring",
) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Return the option that says how the keys are kept."""
    return click.option(
        "--store",
        type=click.Choice(["keyring", "passphrase", "file"]),
        default=default,
        required=default is None,
        help="Keep the keys in the system's keyring, in a file under a passphrase, or in a file"
        " that any program of yours can read." + (f" Default: {default}." if default else ""),
    )


def store_path(path: Path | None) -> Path:
    """Return the key store's file: the one given, or the one in the data directory."""
    from confide.config.sources import home_directory

    return path or home_directory() / "client" / "kek"


def existing(file: Path | None) -> Passphrase:
    """Ask once, when needed, for the passphrase of a store that exists."""
    from confide.client.keystore import existing_passphrase

    return functools.cache(lambda: existing_passphrase(_text(file, "Passphrase", confirm=False)))


def new(file: Path | None) -> Passphrase:
    """Ask once, when needed, for the passphrase of a new store, twice if a person types it."""
    from confide.client.keystore import new_passphrase

    return functools.cache(lambda: new_passphrase(_text(file, "New passphrase", confirm=True)))


def check_possible(kind: StoreKind) -> None:
    """Refuse a keyring that is not there before anything else happens.

    Raises:
        KeystoreError: This machine has no keyring that confide can use.
    """
    from confide.client.keystore import StoreKind, os_keyring

    if kind is StoreKind.KEYRING:
        os_keyring.require()


def now() -> float:
    """Read the wall clock, in unix seconds."""
    return time.time()  # noqa: TID251 - the command line is where the wall clock enters


def when(seconds: object) -> str | None:
    """Write unix seconds for people, in UTC; None stays None."""
    if not isinstance(seconds, int):
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _text(file: Path | None, prompt: str, *, confirm: bool) -> str:
    if file is not None:
        return _from_file(file)
    if text := os.environ.get("CONFIDE_PASSPHRASE"):
        return text
    if not sys.stdin.isatty():
        raise PassphraseError(
            "a passphrase is needed, and there is no terminal to ask for it",
            hint="give --passphrase-file FILE, or set CONFIDE_PASSPHRASE",
        )
    answer = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return str(answer)


def _from_file(path: Path) -> str:
    from confide.client.keystore.files import read_private

    raw = read_private(path)
    if len(raw) > _LONGEST:
        raise PassphraseError(f"the passphrase file {path} is longer than {_LONGEST} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise PassphraseError(f"the passphrase file {path} is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
