"""`confide keys backup | restore | drill | identity | shares`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.cli import keys_ask as ask
from confide.cli import keys_files as files
from confide.cli.output import EXIT_DONE, EXIT_FAILED, emit, talk
from confide.errors import KeystoreError

if TYPE_CHECKING:
    from confide.client.keystore import KeySet

__all__ = ["backup", "drill", "identity", "restore", "shares"]

_identity_option = click.option(
    "--identity",
    "identities",
    type=ask.FILE,
    metavar="FILE",
    multiple=True,
    help="Identity file of age. Can be given more than once.",
)


@click.command("identity")
@click.argument("file", type=ask.NEW_FILE)
@ask.json_option
def identity(file: Path, as_json: bool) -> None:
    """Make an age identity for opening backups, and print its recipient.

    FILE is created, mode 0600, as age-keygen -pq would write it. Keep it away from the
    backups: whoever has both has the keys.

    \b
    Example:
      $ confide keys identity /media/stick/recovery.txt
    """
    from confide.sealing.age import HybridIdentity

    made = HybridIdentity.generate()
    text = (
        f"# created: {ask.when(int(ask.now()))}\n# public key: {made.recipient}\n{made.reveal()}\n"
    )
    files.create(file, text.encode())
    emit({"recipient": str(made.recipient), "file": str(file)}, as_json)


@click.command("backup")
@click.argument("file", type=ask.NEW_FILE)
@click.option(
    "--recipient",
    "-r",
    "recipients",
    metavar="AGE1PQ...",
    multiple=True,
    help="Who can open it. Give at least two.",
)
@click.option(
    "--recipients-file",
    type=ask.FILE,
    metavar="FILE",
    multiple=True,
    help="File with one recipient a line.",
)
@click.option("--allow-classical", is_flag=True, help="Accept X25519 recipients (age1...).")
@ask.file_option
@ask.passphrase_option
@ask.json_option
def backup(
    file: Path,
    recipients: tuple[str, ...],
    recipients_file: tuple[Path, ...],
    allow_classical: bool,
    path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write all keys, retired ones too, into one age file for at least two recipients.

    The stock age tool, version 1.3 or later, opens it with any one of the identities. Make
    identities with confide keys identity or age-keygen -pq. FILE must not exist.

    \b
    Example:
      $ confide keys backup keys.age --recipients-file recipients.txt
    """
    from confide.client.keystore import history, load_keys, seal_backup

    place = ask.store_path(path)
    chosen = files.recipients(recipients, recipients_file)
    keys = load_keys(place, ask.existing(passphrase_file))
    data = seal_backup(keys, chosen, now=ask.now(), allow_classical=allow_classical)
    files.create(file, data)
    history.note(
        place,
        "backup",
        now=ask.now(),
        file=file,
        data=data,
        keys=keys.ids,
        recipients=len(chosen),
    )
    emit({"file": str(file), "recipients": len(chosen), "keys": list(keys.ids)}, as_json)
    talk("confide: a backup counts once it was opened: confide keys drill")


@click.command("restore")
@click.argument("file", type=ask.FILE, required=False)
@_identity_option
@click.option(
    "--share",
    "share_files",
    type=ask.FILE,
    metavar="FILE",
    multiple=True,
    help="Share of a KEK instead of FILE; give two.",
)
@click.option("--merge", is_flag=True, help="Add to a key store that exists; lose no key of it.")
@ask.kind_option()
@ask.file_option
@ask.passphrase_option
@ask.json_option
def restore(
    file: Path | None,
    identities: tuple[Path, ...],
    share_files: tuple[Path, ...],
    merge: bool,
    store: str,
    path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Bring keys back from a backup FILE, or from two shares.

    With --merge the store keeps its kind and every key. The backup's active key becomes
    active if the store does not have it; the one before is then retired. The passphrase is
    that of the key store.

    \b
    Example:
      $ confide keys restore keys.age --identity recovery.txt --store passphrase
    """
    place = ask.store_path(path)
    if place.exists() and not merge:
        raise KeystoreError(
            f"there is a key store {place} already; it was not changed",
            hint="--merge adds the keys of the backup and keeps those that are there",
        )
    found = _found(file, identities, share_files)
    after = _put(found, place, store, passphrase_file)
    emit(
        {"fingerprint": after.active.id, "retired": list(after.ids[1:]), "path": str(place)},
        as_json,
    )


@click.command("drill")
@click.argument("file", type=ask.FILE)
@_identity_option
@ask.file_option
@ask.json_option
def drill(file: Path, identities: tuple[Path, ...], path: Path | None, as_json: bool) -> int:
    """Prove a backup: restore it into a scratch place and compare fingerprints.

    Each identity must open the file alone. The key store is not changed. Exits 1 if the
    backup lacks a key of the store.

    \b
    Example:
      $ confide keys drill keys.age --identity first.txt --identity second.txt
    """
    from confide.client.keystore import describe, history
    from confide.client.keystore import drill as prove

    place, data = ask.store_path(path), files.read(file)
    before = history.last(place, "drill")
    expected = [label.id for label in describe(place).labels]
    report = prove(data, files.identities(identities), expected)
    passed = not report.missing
    now = ask.now()
    if passed:
        history.note(
            place,
            "drill",
            now=now,
            file=file,
            data=data,
            keys=report.proven,
            opened_with=[files.short(recipient) for recipient in report.opened_with],
            recipients=report.recipients,
        )
    emit(
        {
            "proven": list(report.proven),
            "missing": list(report.missing),
            "not_in_store": list(report.unknown),
            "opened_with": [files.short(recipient) for recipient in report.opened_with],
            "recipients": report.recipients,
            "drill_before": ask.when(before["at"]) if before else None,
            "passed": passed,
        },
        as_json,
    )
    if not passed:
        talk("confide: the backup lacks keys of the store: confide keys backup")
        return EXIT_FAILED
    if len(report.opened_with) < report.recipients:
        untried = report.recipients - len(report.opened_with)
        talk(f"confide: {untried} of {report.recipients} recipients were not tried")
    return EXIT_DONE


@click.command("shares")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--key", "key_id", metavar="ID", help="Fingerprint. Default: the active key.")
@ask.file_option
@ask.passphrase_option
@ask.json_option
def shares(
    folder: Path,
    key_id: str | None,
    path: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Write one key as three shares of words (SLIP-39); any two restore it.

    Nothing is sent anywhere; disconnect the machine first. The library that does the
    arithmetic has a caveat of its own, which is printed. Needs the extra `shares`.

    \b
    Example:
      $ confide keys shares /media/stick
    """
    from confide.client.keystore import history, load_keys
    from confide.client.keystore import shares as slip39

    talk(f"confide: caveat: {slip39.CAVEAT}.")
    place = ask.store_path(path)
    keys = load_keys(place, ask.existing(passphrase_file))
    entry = keys.find(key_id) if key_id else keys.active
    places = [folder / f"share-{entry.id}-{n}.txt" for n in range(1, slip39.COUNT + 1)]
    if taken := [file for file in places if file.exists()]:
        raise KeystoreError(f"{taken[0]} exists; it was not changed")
    for number, (file, words) in enumerate(zip(places, slip39.split(entry.kek), strict=True), 1):
        files.create(file, slip39.share_text(words, number, entry.kek).encode())
    history.note(place, "shares", now=ask.now(), file=folder, data=b"", keys=[entry.id])
    emit({"key": entry.id, "files": [str(file) for file in places]}, as_json)


def _found(file: Path | None, identities: Sequence[Path], share_files: Sequence[Path]) -> KeySet:
    """Open what the keys come back from."""
    from confide.client.keystore import KeyEntry, KeySet, open_backup
    from confide.client.keystore import shares as slip39

    if (file is None) == (not share_files):
        raise click.UsageError("give a backup FILE with --identity, or --share twice")
    if file is not None:
        return open_backup(files.read(file), files.identities(identities))
    talk(f"confide: caveat: {slip39.CAVEAT}.")
    kek = slip39.combine([slip39.read_share(files.read_text(share)) for share in share_files])
    return KeySet((KeyEntry(kek),))


def _put(found: KeySet, place: Path, store: str, passphrase_file: Path | None) -> KeySet:
    """Put restored keys into the store, new or there already."""
    from confide.client.keystore import StoreKind, create_keys, load_keys, locked, replace_keys

    if not place.exists():
        kind = StoreKind(store)
        ask.check_possible(kind)
        with locked(place):
            create_keys(place, found, kind, ask.new(passphrase_file))
        return found
    passphrase = ask.existing(passphrase_file)
    with locked(place):
        after = load_keys(place, passphrase).merge(found, ask.now())
        replace_keys(place, after, passphrase)
    return after
