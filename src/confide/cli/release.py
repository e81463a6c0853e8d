"""`confide release`: make, sign and check releases, and choose whose releases count."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.cli.dates import MOMENT, now
from confide.cli.output import emit, talk
from confide.errors import ConfigError

if TYPE_CHECKING:
    from confide.attest.releases.history import ReleaseStore
    from confide.attest.releases.manifest import Release

__all__ = ["accept_release", "register", "release_store", "store_option"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW = click.Path(path_type=Path, dir_okay=False)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_passphrase = click.option(
    "--passphrase-file", type=_FILE, metavar="FILE", help="First line: passphrase of the key."
)
store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Trusted release keys and what was seen. Default: releases in the data directory.",
)


@click.group("release")
def release() -> None:
    """Sign releases, and check them against the keys you trust.

    A release lists the measurements of one version on each machine shape. It takes a
    threshold of signers; each signs with Ed25519 and ML-DSA-65.
    """


@release.command("keygen")
@click.argument("file", type=_NEW)
@_passphrase
@_json
def _keygen(file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a release key in FILE and its public half in FILE.pub.

    Keep FILE on a machine that serves nothing, or on a removable disk. It never replaces
    a file.

    \b
    Example:
      $ confide release keygen alice.key --passphrase-file alice.passphrase
    """
    from confide.attest.releases.keys import SigningKey
    from confide.cli.new_files import write_new

    key = SigningKey.generate()
    public = file.with_name(file.name + ".pub")
    if public.exists():
        raise ConfigError(f"{public} exists and is not replaced")
    write_new(file, key.to_pem(_secret(passphrase_file)), mode=0o600)
    write_new(public, key.public.to_pem())
    emit({"key_id": key.public.id, "private": str(file), "public": str(public)}, as_json)


@release.command("keys")
@click.option("--name", required=True, help="Name of the publisher.")
@click.option(
    "--version",
    "number",
    type=click.IntRange(1),
    required=True,
    metavar="N",
    help="1, then one more with each change of the signers.",
)
@click.option(
    "--threshold",
    type=click.IntRange(1, 16),
    required=True,
    metavar="N",
    help="How many signers it takes.",
)
@click.option(
    "--key",
    "public",
    type=_FILE,
    multiple=True,
    required=True,
    metavar="FILE.pub",
    help="Public half of a signer's key. Repeatable, at most 16.",
)
@click.option(
    "--not-after", type=MOMENT, required=True, metavar="DATE", help="When they sign no more."
)
@click.option("--out", type=_NEW, required=True, metavar="FILE", help="The list, to be signed.")
def _keys(
    name: str,
    number: int,
    threshold: int,
    public: tuple[Path, ...],
    not_after: datetime,
    out: Path,
) -> None:
    """List who may sign releases, to be signed by them.

    Version 1 needs a threshold of its own signers. Each later version also needs a
    threshold of the version before it, so one lost key can be replaced and a stolen one
    cannot take over.

    \b
    Example:
      $ confide release keys --name confide --version 1 --threshold 2 --key a.key.pub --key b.key.pub --not-after 2028-01-01 --out keys.json
    """  # noqa: E501 - an example is one line
    from confide.attest.releases.keys import PublicKey, ReleaseKeys
    from confide.cli.new_files import write_new

    keys = tuple(PublicKey.from_pem(path.read_bytes()) for path in public)
    write_new(out, ReleaseKeys(name, number, not_after, threshold, keys).unsigned().encode())
    talk(f"confide: wrote {out}; next, with each key: confide release sign {out} --key KEY")


@release.command("sign")
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, required=True, metavar="FILE", help="A release key.")
@_passphrase
@_json
def _sign(file: Path, key: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Add a signature to FILE, a release or a list of release keys.

    Look at what you sign: the output says what kind of file it is and what it holds.

    \b
    Example:
      $ confide release sign release.json --key alice.key --passphrase-file alice.passphrase
    """
    from confide.attest.releases.dsse import MAX_ENVELOPE, Envelope
    from confide.attest.releases.keys import KEYS_TYPE, SigningKey
    from confide.attest.releases.manifest import RELEASE_TYPE
    from confide.attest.strict_json import read_object
    from confide.cli.new_files import read_file, write_over

    envelope = Envelope.parse(read_file(file, limit=MAX_ENVELOPE))
    if envelope.payload_type not in (KEYS_TYPE, RELEASE_TYPE):
        raise ConfigError(f"{file} is neither a release nor a list of release keys")
    members = read_object(envelope.payload, limit=len(envelope.payload))
    signer = SigningKey.from_pem(key.read_bytes(), _secret(passphrase_file))
    envelope = signer.sign(envelope)
    write_over(file, envelope.encode())
    emit(
        {
            "kind": envelope.payload_type,
            "name": str(members.get("name")),
            "version": str(members.get("version")),
            "signed_by": signer.public.id,
            "signatures": len(envelope.signatures),
        },
        as_json,
    )


@release.command("trust")
@click.argument("file", type=_FILE)
@click.option("--sha256", metavar="HEX", help="Digest of FILE from the publisher, another way.")
@store_option
@_json
def _trust(file: Path, sha256: str | None, store: Path | None, as_json: bool) -> None:
    """Choose whose releases count, or follow a change of release keys.

    The first list is trusted by its SHA-256 only, which you get from the publisher by
    another way than the file. Later lists must be signed by the signers before them.

    \b
    Example:
      $ confide release trust keys.json --sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """  # noqa: E501 - an example is one line
    from confide.attest.releases.dsse import MAX_ENVELOPE
    from confide.cli.new_files import read_file

    try:
        digest = None if sha256 is None else bytes.fromhex(sha256)
    except ValueError:
        raise ConfigError("--sha256 is not hexadecimal") from None
    raw = read_file(file, limit=MAX_ENVELOPE)
    keys = release_store(store).trust(raw, sha256=digest, at=now())
    emit(
        {
            "publisher": keys.name,
            "version": keys.version,
            "threshold": keys.threshold,
            "keys": [key.id for key in keys.keys],
            "not_after": keys.not_after.isoformat(),
        },
        as_json,
    )


@release.command("verify")
@click.argument("file", type=_FILE)
@click.option("--sigstore", type=_FILE, metavar="FILE", help="Also check this Sigstore bundle.")
@click.option("--repository", metavar="OWNER/NAME", help="With --sigstore: where it was built.")
@click.option("--workflow", metavar="PATH", help="With --sigstore: by which workflow file.")
@click.option("--tag", metavar="REF", help="With --sigstore: such as refs/tags/v0.2.0.")
@store_option
@_json
def _verify(
    file: Path,
    sigstore: Path | None,
    repository: str | None,
    workflow: str | None,
    tag: str | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Check a release, and remember that it was seen.

    Signatures, dates, and that nothing newer of the same name was seen here before. Exits
    0 if it counts, 3 if it is refused.

    \b
    Example:
      $ confide release verify release.json
    """
    record: dict[str, object] = {}
    if sigstore is not None:
        if not (repository and workflow and tag):
            raise click.UsageError("--sigstore needs --repository, --workflow and --tag")
        from confide.attest.sigstore_bundle import MAX_BUNDLE, WorkflowIdentity, verify_artifact
        from confide.cli.new_files import read_file

        built = verify_artifact(
            read_file(sigstore, limit=MAX_BUNDLE),
            artifact=file.read_bytes(),
            identity=WorkflowIdentity(repository, workflow, tag),
        )
        record = {"built_by": built.identity, "logged_at": built.logged_at.isoformat()}
    found = accept_release(file, store)
    emit(
        {
            "name": found.name,
            "version": found.version,
            "counter": found.counter,
            "not_after": found.not_after.isoformat(),
            "signers": list(found.signers),
            "measurements": len(found.workloads.values),
            **record,
        },
        as_json,
    )


def accept_release(file: Path, store: Path | None) -> Release:
    """Check a release against the trusted keys and the history.

    Raises:
        ConfideError: See `ReleaseStore.accept`.
    """
    from confide.attest.releases.dsse import MAX_ENVELOPE
    from confide.cli.new_files import read_file

    return release_store(store).accept(read_file(file, limit=MAX_ENVELOPE), at=now())


def release_store(folder: Path | None) -> ReleaseStore:
    """Return the store in `folder`, or in the data directory."""
    from confide.attest.releases.history import ReleaseStore
    from confide.config.sources import home_directory

    return ReleaseStore(folder or home_directory() / "releases")


def _secret(file: Path | None) -> bytes | None:
    if file is None:
        return None
    secret = file.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    if len(secret) < 16:
        raise ConfigError("a passphrase has at least 16 characters")
    return secret


def register(group: click.Group) -> None:
    """Add the commands to the root group."""
    group.add_command(release)
