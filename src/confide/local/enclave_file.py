"""Write the measured settings file of a local enclave.

The enclave reads only this file; its digest is in the manifest that report_data commits
to. So the choice of model is made here, before the enclave starts, and never later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

from confide.errors import ConfigError

__all__ = ["DEMO_MODEL", "BackendChoice", "demo_model_path", "enclave_toml"]

DEMO_MODEL = "demo-tiny"


@dataclass(frozen=True)
class BackendChoice:
    """One backend of the local enclave and the models it serves.

    Attributes:
        kind: "llamacpp", "ollama", "openai_http" or "echo".
        models: Names offered to clients, each the backend's own name.
        options: Further keys of the `[[backends]]` table.
        model_options: Further keys of each of its `[[models]]` tables.
    """

    kind: str
    models: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    model_options: Mapping[str, object] = field(default_factory=dict)


def demo_model_path() -> Path:
    """Where the demo model shipped with confide lies on disk.

    Raises:
        ConfigError: The installation lacks it.
    """
    with as_file(files("confide") / "models" / "demo_tiny" / "demo-tiny.gguf") as path:
        if path.is_file():
            return path
    raise ConfigError(
        "this installation of confide has no demo model",
        hint="reinstall it, or name a model: confide up --model PATH.gguf",
    )


def _lines(table: Mapping[str, object]) -> Iterator[str]:
    for key, value in table.items():
        # JSON strings, numbers, booleans and arrays of them are TOML values as they are.
        yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


def enclave_toml(
    *,
    host: str,
    port: int,
    gateway_public_key: str,
    backends: tuple[BackendChoice, ...],
    padding: Mapping[str, object] | None = None,
    extra: Mapping[str, object] | None = None,
) -> str:
    """Compose the file.

    Args:
        host: Loopback address to bind.
        port: TCP port.
        gateway_public_key: Ed25519 public key of the gateway's grants, base64url.
        backends: At least one.
        padding: Keys of the `[padding]` table.
        extra: Further keys of the `[enclave]` table.

    Returns:
        TOML text.
    """
    enclave = {"host": host, "port": port, "gateway_public_key": gateway_public_key}
    lines = ["# Written by `confide up`; measured by the enclave.", "[enclave]"]
    lines += _lines({**enclave, **(extra or {})})
    if padding:
        lines += ["", "[padding]", *_lines(padding)]
    for number, backend in enumerate(backends):
        name = f"{backend.kind}-{number}"
        table = {"name": name, "kind": backend.kind, **backend.options}
        lines += ["", "[[backends]]", *_lines(table)]
        for model in backend.models:
            offered = {"name": model, "backends": [name], **backend.model_options}
            lines += ["", "[[models]]", *_lines(offered)]
    return "\n".join(lines) + "\n"
