"""Settings of the enclave: one measured TOML file, and nothing else.

The host controls the enclave's environment and command line, so neither may decide
anything: every value stands in the file whose exact bytes are hashed. The digest goes into
the manifest, the manifest's digest into report_data, and a client that pins the manifest
pins every setting with it. A ``CONFIDE_ENCLAVE...`` variable is refused, not ignored.

    [enclave]
    port = 8002
    gateway_public_key = "<b64url of the gateway's 32-byte Ed25519 public key>"

    [padding]
    profile = "bucket"

    [[backends]]
    name = "demo"
    kind = "echo"            # other keys of the table are the backend's own options

    [[models]]
    name = "demo-tiny"
    class = "small"          # what the usage statement says instead of the name
    backends = ["demo"]

Source: architecture.md section 10.2, protocol.md sections 3 and 6.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from confide.errors import ConfigError

__all__ = [
    "MAXIMUM_FILE",
    "BackendSettings",
    "DoorSettings",
    "EnclaveSettings",
    "LoadedSettings",
    "ModelSettings",
    "PaddingSettings",
]

MAXIMUM_FILE: Final = 256 * 1024
"""Longest settings file that is read, in bytes."""

_ENVIRONMENT_PREFIX: Final = "CONFIDE_ENCLAVE"
_KEY_LENGTH: Final = 32  # Ed25519 public key, RFC 8032

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DoorSettings(_Table):
    """Table ``[enclave]``: the listener, the keys and what the door accepts."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8002, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    gateway_public_key: str = Field(
        description="The gateway's Ed25519 public key (32 bytes, base64url); signs the grants."
    )
    platform: Name | None = Field(
        None,
        description="TEE platform to attest with: sev-snp, tdx, azure-sev-snp, azure-tdx, "
        "or the plug-in NAME.collect.",
    )
    gpus: int = Field(
        0,
        ge=0,
        le=16,
        description="NVIDIA GPUs the evidence covers; nothing starts unless each is confidential.",
    )
    gpu_mode: Literal["SPT", "MPT"] = Field(
        "SPT", description="SPT: each GPU by itself. MPT: several, with encrypted links."
    )
    authorities: tuple[Name, ...] = Field(
        ("confide.invalid",),
        min_length=1,
        description="Inner authorities this enclave answers for.",
    )
    key_lifetime_s: int = Field(
        86_400, ge=60, le=7 * 86_400, description="Age at which a new key replaces the current one."
    )
    key_grace_s: int = Field(
        3_600, ge=0, le=86_400, description="How long a replaced key still opens requests."
    )
    max_body: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        le=1024 * 1024 * 1024,
        description="Longest request body inside the seal, in bytes.",
    )
    replay_capacity: int = Field(
        200_000,
        ge=100,
        le=50_000_000,
        description="Requests remembered to refuse replays; about 165 bytes each.",
    )
    usage_capacity: int = Field(
        100_000,
        ge=10,
        le=10_000_000,
        description="Usage statements kept until the gateway acknowledges them.",
    )
    max_requests: int = Field(
        1_000, ge=1, le=1_000_000, description="Sealed requests in progress at one time."
    )
    drain_s: int = Field(
        4, ge=0, le=600, description="How long streams may finish after a stop signal."
    )

    @model_validator(mode="after")
    def _grace_ends_before_the_next_key(self) -> Self:
        if self.key_grace_s > self.key_lifetime_s:
            raise ValueError("key_grace_s must not be longer than key_lifetime_s")
        return self

    @model_validator(mode="after")
    def _gpus_belong_to_a_platform(self) -> Self:
        if self.gpus and self.platform is None:
            raise ValueError("gpus need a platform: a GPU alone proves nothing")
        if self.gpu_mode == "MPT" and self.gpus < 2:
            raise ValueError("gpu_mode MPT is for two GPUs or more")
        return self

    @field_validator("gateway_public_key")
    @classmethod
    def _is_a_public_key(cls, value: str) -> str:
        _decode_key(value)
        return value

    @property
    def grant_key(self) -> bytes:
        """The gateway's public key, 32 bytes."""
        return _decode_key(self.gateway_public_key)


class PaddingSettings(_Table):
    """Table ``[padding]``: how answers hide their length and rhythm (protocol.md section 6)."""

    profile: Literal["off", "bucket", "constant"] = Field(
        "bucket", description="Length hiding: off, bucket, or constant (dummy chunks)."
    )
    tick_ms: int = Field(
        100, ge=0, le=10_000, description="Stream chunks leave on this beat; 0 sends each event."
    )

    @model_validator(mode="after")
    def _constant_needs_a_beat(self) -> Self:
        if self.profile == "constant" and self.tick_ms == 0:
            raise ValueError("the constant profile needs tick_ms above 0")
        return self


class BackendSettings(BaseModel):
    """One table of ``[[backends]]``. Keys besides name and kind are the backend's options."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    name: Name = Field(description="Name that [[models]] refers to.")
    kind: Name = Field(description="Entry point in the group confide.backends.")

    @property
    def options(self) -> Mapping[str, object]:
        """The backend's own options; the backend refuses the ones it does not know."""
        return dict(self.model_extra or {})


class ModelSettings(_Table):
    """One table of ``[[models]]``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    name: Name = Field(description="Name that clients ask for.")
    model_class: str = Field(
        "default",
        alias="class",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$",
        description="Coarse label in usage statements; the gateway sees it instead of the name.",
    )
    backends: tuple[Name, ...] = Field(min_length=1, description="Backends in order of preference.")
    backend_model: Name | None = Field(
        None, description="Name of the model at the backend; the same name if absent."
    )
    type: Literal["chat", "embedding", "audio"] | None = Field(
        None,
        description="What it can be asked: chat (with completions and responses), embedding, or "
        "audio (transcriptions and translations). Absent: chat and embedding, if the backend can.",
    )


class LoadedSettings(NamedTuple):
    """Settings and the SHA-256 (32 bytes) of the exact file they came from."""

    settings: EnclaveSettings
    sha256: bytes


class EnclaveSettings(_Table):
    """The whole settings file of an enclave."""

    enclave: DoorSettings
    padding: PaddingSettings = PaddingSettings()
    backends: tuple[BackendSettings, ...] = Field(min_length=1)
    models: tuple[ModelSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        offered = _distinct("backends", [backend.name for backend in self.backends])
        _distinct("models", [model.name for model in self.models])
        for model in self.models:
            for name in model.backends:
                if name not in offered:
                    known = ", ".join(sorted(offered))
                    raise ValueError(
                        f"model {model.name!r} names backend {name!r}; there is {known}"
                    )
        return self

    @classmethod
    def load(cls, path: Path, *, environment: Iterable[str] | None = None) -> LoadedSettings:
        """Read the measured file.

        Args:
            path: TOML file of at most 256 KiB.
            environment: Names of the environment variables that are set. Default: the
                process's own.

        Returns:
            The settings and the SHA-256 of the file's bytes.

        Raises:
            ConfigError: The file cannot be used, or the environment tries to set something.
        """
        _refuse_environment(os.environ if environment is None else environment)
        raw = _read(path)
        return LoadedSettings(cls.parse(raw, source=str(path)), hashlib.sha256(raw).digest())

    @classmethod
    def parse(cls, raw: bytes, *, source: str) -> EnclaveSettings:
        """Build settings from the bytes of a file.

        Args:
            raw: TOML in UTF-8.
            source: Name of the file, for error messages.

        Raises:
            ConfigError: Not TOML, an unknown key, or a value that is not allowed.
        """
        try:
            tables = tomllib.loads(raw.decode("utf-8"))
        except ValueError as error:
            raise ConfigError(f"{source} is not TOML: {error}") from None
        try:
            # Arrays of tables arrive as lists; strict mode wants tuples.
            return cls.model_validate(_with_tuples(tables))
        except ValidationError as error:
            raise _explain(error, source) from None


def _refuse_environment(names: Iterable[str]) -> None:
    for name in sorted(names):
        if name.startswith(_ENVIRONMENT_PREFIX):
            raise ConfigError(
                f"the environment variable {name} cannot change an enclave",
                hint="unset it and write the value into the settings file, which is measured",
            )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAXIMUM_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}",
            hint="confide enclave serve --config FILE names the settings file",
        ) from error
    if len(raw) > MAXIMUM_FILE:
        raise ConfigError(
            f"{path} is longer than {MAXIMUM_FILE} bytes", hint="is it the settings file?"
        )
    return raw


def _decode_key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64url without padding") from None
    if len(raw) != _KEY_LENGTH:
        raise ValueError(f"must be {_KEY_LENGTH} bytes, not {len(raw)}")
    return raw


def _distinct(table: str, names: list[str]) -> set[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"[[{table}]] has {name!r} twice")
    return set(names)


def _with_tuples(value: object) -> object:
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value


def _explain(error: ValidationError, source: str) -> ConfigError:
    # Pydantic's own text quotes the input; this one never does.
    problems: list[str] = []
    hint: str | None = None
    for entry in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in entry["loc"])
        if entry["type"] == "extra_forbidden":
            problems.append(f"{source} has an unknown key {place!r}")
            hint = hint or _nearest(entry["loc"])
        else:
            text = entry["msg"].removeprefix("Value error, ")
            problems.append(f"{source}: {place or 'the file'}: {text[:1].lower()}{text[1:]}")
    return ConfigError("; ".join(problems), hint=hint)


_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "enclave": DoorSettings,
    "padding": PaddingSettings,
    "models": ModelSettings,
}


def _nearest(place: tuple[int | str, ...]) -> str | None:
    table = _TABLES.get(str(place[0])) if len(place) > 1 else EnclaveSettings
    if table is None:
        return None
    known = [field.alias or name for name, field in table.model_fields.items()]
    match = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
    return f"did you mean {match[0]}?" if match else f"known keys: {', '.join(known)}"
