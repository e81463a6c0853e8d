"""What this enclave runs, as bytes whose digest goes into report_data.

A client that pins the manifest's digest pins the release, every model with its weights and
every setting: the settings file is in it by its SHA-256. The manifest is public; the
directory serves it beside the key document.

    {"models":[{"backends":[{"kind":"llamacpp","name":"demo","weights_sha256":"..."}],
                "class":"small","name":"demo-tiny"}],
     "release":"confide 0.1.0","settings_sha256":"...","v":1}

With GPUs there is one more member, what the driver said of their state when the enclave
started (spec/protocol.md section 6); without GPUs it is absent:

    "gpus":{"confidential":true,"count":1,"developer_tools":false,
            "environment":"production","mode":"SPT"}

The encoding is canonical (sorted keys, no spaces, ASCII), so anyone can rebuild the bytes
from the release, the weights and the settings file.

Source: protocol.md section 3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from confide.errors import ConfigError

__all__ = ["GpuState", "Manifest", "MeasuredBackend", "MeasuredModel", "weights_digest"]

_READ = 1024 * 1024


@dataclass(frozen=True)
class MeasuredBackend:
    """One backend of a model.

    Attributes:
        name: Its name in the settings.
        kind: Entry point that made it, such as "llamacpp".
        weights_sha256: SHA-256 of the model file (32 bytes) if the enclave loads it itself;
            None for a backend that is another process.
    """

    name: str
    kind: str
    weights_sha256: bytes | None = None


@dataclass(frozen=True)
class MeasuredModel:
    """One model that the enclave offers."""

    name: str
    model_class: str
    backends: tuple[MeasuredBackend, ...]


@dataclass(frozen=True)
class GpuState:
    """What the driver told this enclave about its GPUs; their own reports do not say it.

    Attributes:
        confidential: Confidential mode is on.
        developer_tools: Developer tools are on, which let the host look inside.
        environment: "production" or "simulation".
        count: GPUs, not counting NVSwitches; at least one.
        mode: "SPT", "MPT" or "PPCIE".
    """

    confidential: bool
    developer_tools: bool
    environment: str
    count: int
    mode: str


@dataclass(frozen=True)
class Manifest:
    """Release, models and settings of one enclave.

    Attributes:
        release: Distribution and version, such as "confide 0.1.0".
        models: What is offered.
        settings_sha256: SHA-256 of the settings file, 32 bytes.
        gpus: What the driver said, or None if there is no GPU.
    """

    release: str
    models: Sequence[MeasuredModel]
    settings_sha256: bytes
    gpus: GpuState | None = None

    def encode(self) -> bytes:
        """Return the canonical JSON bytes."""
        members: dict[str, object] = {
            "v": 1,
            "release": self.release,
            "models": [_model(m) for m in sorted(self.models, key=lambda m: m.name)],
            "settings_sha256": self.settings_sha256.hex(),
        }
        if self.gpus is not None:
            members["gpus"] = asdict(self.gpus)
        return json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")

    @property
    def sha256(self) -> bytes:
        """SHA-256 of `encode()`, 32 bytes."""
        return hashlib.sha256(self.encode()).digest()


def weights_digest(path: Path) -> bytes:
    """Hash a model file. Reads the whole file: about 1 s per 2 GB on one core.

    Raises:
        ConfigError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_READ):
                digest.update(block)
    except OSError as error:
        raise ConfigError(
            f"cannot read the model {path}: {error.strerror}",
            hint="model_path in the settings must name a file that this user may read",
        ) from error
    return digest.digest()


def _model(model: MeasuredModel) -> dict[str, object]:
    return {
        "name": model.name,
        "class": model.model_class,
        "backends": [_backend(backend) for backend in model.backends],
    }


def _backend(backend: MeasuredBackend) -> dict[str, object]:
    entry: dict[str, object] = {"name": backend.name, "kind": backend.kind}
    if backend.weights_sha256 is not None:
        entry["weights_sha256"] = backend.weights_sha256.hex()
    return entry
