"""`confide enclave serve` and `confide enclave measure`."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["register"]

_FILE = click.Path(path_type=Path, dir_okay=False)


def register(group: click.Group) -> None:
    """Add the `enclave` commands to a group."""
    group.add_command(_enclave)


@click.group("enclave")
def _enclave() -> None:
    """Serve the enclave, the room that opens requests."""


@_enclave.command("serve")
@click.option(
    "--config", "config_path", type=_FILE, required=True, help="The measured settings file."
)
def _serve(config_path: Path) -> None:
    """Serve sealed requests inside a TEE until a stop signal.

    All settings come from the file, whose digest is attested; environment variables and
    further flags are refused. Without a TEE nothing is served: confide up runs the same
    enclave with simulated evidence.
    """
    from confide.apps.enclave import serve_enclave

    serve_enclave(config_path)


@_enclave.command("measure")
@click.option(
    "--config", "config_path", type=_FILE, required=True, help="The measured settings file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _measure(config_path: Path, as_json: bool) -> None:
    """Print the digests that a settings file leads to, without serving.

    The manifest is what a client pins: it names the release, the models with the digest of
    their weights, and the settings file by its digest.
    """
    from confide.apps.enclave import measure
    from confide.cli.output import emit

    measured = measure(config_path)
    manifest = measured.manifest.encode().decode("ascii")
    emit(
        {
            "settings_sha256": measured.settings_sha256.hex(),
            "manifest_sha256": measured.manifest.sha256.hex(),
            "manifest": json.loads(manifest) if as_json else manifest,
        },
        as_json,
    )
