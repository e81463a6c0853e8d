"""`confide keys`: the KEK at home. Backups are in `keys_backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from confide.cli import keys_ask as ask
from confide.cli.keys_backup import backup, drill, identity, restore, shares
from confide.cli.output import emit, talk

__all__ = ["keys", "register"]

_ADVICE = (
    "confide: keep three copies, on two kinds of media, one of them elsewhere (3-2-1): "
    "confide keys backup, then confide keys drill"
)


def register(group: click.Group) -> None:
    """Add the `keys` commands to a group."""
    group.add_command(keys)


@click.group("keys")
def keys() -> None:
    """Create, rotate, back up and restore the keys kept at home.

    The KEK (key encryption key) wraps the keys of your files. confide cannot replace a lost
    one: without it and without a backup, what it wrapped stays closed.
    """


for _command in (backup, drill, identity, restore, shares):
    keys.add_command(_command)


@keys.command("create")
@ask.kind_option()
@ask.file_option
@ask.passphrase_option
@ask.json_option
def _create(store: str, path: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Create a KEK and print its fingerprint.

    An existing key store is never replaced. A passphrase has at least 16 characters, at
    least 8 different ones and at least one letter. Exits 1 if the machine has no keyring;
    the message names the other ways.

    \b
    Example:
      $ confide keys create --store passphrase
    """
    from confide.client.keystore import KeySet, StoreKind, create_keys, locked

    place, kind = ask.store_path(path), StoreKind(store)
    ask.check_possible(kind)
    made = KeySet.create(ask.now())
    with locked(place):
        create_keys(place, made, kind, ask.new(passphrase_file))
    emit({"fingerprint": made.active.id, "store": kind.value, "path": str(place)}, as_json)
    talk(_ADVICE)


@keys.command("show")
@click.option("--check", is_flag=True, help="Open the store and compare what it says of itself.")
@ask.file_option
@ask.passphrase_option
@ask.json_option
def _show(path: Path | None, check: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Show fingerprints, where the keys are, and when a backup was last proven.

    No key is shown. Without --check neither the passphrase nor the keyring is needed.

    \b
    Example:
      $ confide keys show
    """
    from confide.client.keystore import describe, history, load_keys

    place = ask.store_path(path)
    info = describe(place)
    found: dict[str, Any] = {
        "fingerprint": info.labels[0].id,
        "store": info.kind.value,
        "path": str(place),
        "created": ask.when(info.labels[0].created),
        "retired": [label.id for label in info.labels[1:]],
    }
    if check:
        found["opened"] = load_keys(place, ask.existing(passphrase_file)).labels == info.labels
    for what in ("backup", "drill"):
        entry = history.last(place, what)
        found[f"last_{what}"] = ask.when(entry["at"]) if entry else None
        if info.labels[0].id not in ((entry or {}).get("keys") or ()):
            talk(f"confide: no {what} with the active key is on record: confide keys {what}")
    emit(found, as_json)


@keys.command("rotate")
@ask.file_option
@ask.passphrase_option
@ask.json_option
def _rotate(path: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a new KEK active; keep the old one as retired.

    Retired keys still open what they wrapped. Backups made before do not have the new key.

    \b
    Example:
      $ confide keys rotate
    """
    from confide.client.keystore import load_keys, locked, replace_keys

    place, passphrase = ask.store_path(path), ask.existing(passphrase_file)
    with locked(place):
        before = load_keys(place, passphrase)
        after = before.rotate(ask.now())
        replace_keys(place, after, passphrase)
    emit({"fingerprint": after.active.id, "retired": list(after.ids[1:])}, as_json)
    talk("confide: earlier backups do not have the new key: confide keys backup")


@keys.command("protect")
@ask.kind_option(None)
@click.option(
    "--new-passphrase-file",
    type=ask.FILE,
    metavar="FILE",
    help="Private file with the new passphrase. Default: CONFIDE_PASSPHRASE, or a prompt.",
)
@ask.file_option
@ask.passphrase_option
@ask.json_option
def _protect(
    store: str,
    path: Path | None,
    passphrase_file: Path | None,
    new_passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Keep the same keys another way, or under another passphrase.

    The old file is replaced, not erased: a disk may keep its blocks for a while. If a key
    may have been seen, rotate it as well.

    \b
    Example:
      $ confide keys protect --store passphrase
    """
    from confide.client.keystore import StoreKind, locked, move_keys

    place, kind = ask.store_path(path), StoreKind(store)
    ask.check_possible(kind)
    with locked(place):
        moved = move_keys(
            place,
            kind,
            passphrase=ask.existing(passphrase_file),
            new_passphrase=ask.new(new_passphrase_file),
        )
    emit({"fingerprint": moved.active.id, "store": kind.value, "path": str(place)}, as_json)
