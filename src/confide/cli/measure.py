"""`confide measure`: what a guest will measure, before it runs."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from confide.cli.dates import MOMENT
from confide.cli.output import emit, talk
from confide.errors import ConfigError

__all__ = ["register"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW = click.Path(path_type=Path, dir_okay=False)


@click.command("measure")
@click.option("--ovmf", type=_FILE, metavar="FILE", required=True, help="Firmware of the guest.")
@click.option("--kernel", type=_FILE, metavar="FILE", help="Needs the AmdSev build of OVMF.")
@click.option("--initrd", type=_FILE, metavar="FILE", help="Initial ramdisk.")
@click.option("--append", "cmdline", default="", metavar="TEXT", help="Kernel command line.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    required=True,
    metavar="TYPE:VCPUS",
    help="Machine, such as EPYC-Genoa:16, EPYC-v4:8@Genoa, or on EC2 Genoa:16. Repeatable.",
)
@click.option(
    "--hypervisor",
    type=click.Choice(["qemu", "ec2", "gce"]),
    default="qemu",
    help="Who starts the guest. Default: qemu.",
)
@click.option(
    "--guest-features",
    default="0x1",
    metavar="HEX",
    help="SEV features the host switches on. Default: 0x1; often 0x21 on Linux 6.6 and later.",
)
@click.option("--ovmf-digest", metavar="HEX", help="Digest of the firmware from elsewhere.")
@click.option(
    "--manifest",
    type=_FILE,
    metavar="FILE",
    help="Release-and-model manifest that belongs to the image. Needed with --out.",
)
@click.option("--out", type=_NEW, metavar="FILE", help="Write a release, to be signed.")
@click.option("--name", default="confide", help="Name of the release. Default: confide.")
@click.option("--release-version", default="", metavar="TEXT", help="Such as 0.2.0.")
@click.option(
    "--counter", type=click.IntRange(1), metavar="N", help="Higher than in every release before."
)
@click.option("--not-after", type=MOMENT, metavar="DATE", help="When the release ends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def measure(
    ovmf: Path,
    kernel: Path | None,
    initrd: Path | None,
    cmdline: str,
    shapes: tuple[str, ...],
    hypervisor: str,
    guest_features: str,
    ovmf_digest: str | None,
    manifest: Path | None,
    out: Path | None,
    as_json: bool,
    **release: Any,
) -> None:
    """Predict the SEV-SNP launch digests of an image, one for each machine shape.

    With --out it also writes the release that lists them, which confide release sign signs.
    It never replaces a file.

    \b
    Example:
      $ confide measure --ovmf OVMF.fd --kernel vmlinuz --initrd initrd.img --append 'root=x' --shape EPYC-Genoa:16
    """  # noqa: E501 - an example is one line
    from confide.attest.launch_digest import Hypervisor, Image, Shape, launch_digest

    who = Hypervisor(hypervisor)
    image = Image(ovmf, kernel, initrd, cmdline, _hex(ovmf_digest))
    rows = []
    for text in dict.fromkeys(shapes):
        shape = Shape.parse(text, who)
        digest = launch_digest(image, shape, hypervisor=who, guest_features=_bits(guest_features))
        rows.append({"product": shape.product, "vcpus": shape.vcpus, "measurement": digest.hex()})
    if out is not None:
        _write(out, manifest, rows, release)
    emit(rows, as_json)


def _write(
    out: Path, manifest: Path | None, rows: list[dict[str, Any]], release: dict[str, Any]
) -> None:
    from confide.attest.releases.manifest import unsigned_release
    from confide.cli.dates import now
    from confide.cli.new_files import write_new

    version, counter, not_after = (
        release[key] for key in ("release_version", "counter", "not_after")
    )
    if manifest is None or not version or counter is None or not_after is None:
        raise click.UsageError(
            "--out needs --manifest, --release-version, --counter and --not-after"
        )
    if not isinstance(not_after, datetime):
        raise click.UsageError("--not-after is no date")
    workload = {
        "name": f"{release['name']}-{version}",
        "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        "snp": rows,
    }
    envelope = unsigned_release(
        name=release["name"],
        version=version,
        counter=counter,
        not_before=now(),
        not_after=not_after,
        workloads=[workload],
    )
    write_new(out, envelope.encode())
    talk(f"confide: wrote {out}; next: confide release sign {out} --key KEY")


def _hex(text: str | None) -> bytes:
    try:
        return bytes.fromhex(text or "")
    except ValueError:
        raise ConfigError("--ovmf-digest is not hexadecimal") from None


def _bits(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ConfigError("--guest-features is not hexadecimal") from None


def register(group: click.Group) -> None:
    """Add the command to the root group."""
    group.add_command(measure)
