"""Where settings come from: flag, environment, TOML table, default, in that order.

Every value keeps its origin. A name that nobody reads is refused instead of ignored, in
the file and in the environment: a misspelt limit would otherwise be no limit.

Environment names are ``CONFIDE_<TABLE>__<FIELD>`` with two underscores between levels, for
example ``CONFIDE_GATEWAY__LIMITS__REQUESTS_PER_MINUTE``. Lists are JSON or separated by
commas. The enclave does not use this module's precedence: the host controls its
environment, so it reads the measured file only.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar, Union, cast, get_args, get_origin

import platformdirs
from pydantic import BaseModel, ValidationError

from confide.errors import ConfigError

__all__ = [
    "MAXIMUM_FILE",
    "PLAIN_NAMES",
    "SHORT_NAMES",
    "TABLES",
    "Resolved",
    "check_names",
    "config_file",
    "environment_names",
    "flatten",
    "home_directory",
    "is_configured",
    "read_file",
    "resolve",
]

PREFIX = "CONFIDE_"

TABLES = ("gateway", "proxy")
"""Tables that may stand in ``confide.toml``; each belongs to one process. The enclave has a
file of its own, which is measured."""

SECRET_NAMES = frozenset({"api_key", "authorization", "password", "secret", "token"})
"""Last parts of a name whose text is masked even if its class does not say `SecretStr`."""

PLAIN_NAMES = {
    "CONFIDE_HOME": "data directory; default: the platform's user data directory",
    "CONFIDE_CONFIG": "settings file; default: confide.toml in the data directory",
    "CONFIDE_API_KEY": "API key that the command line sends to a gateway",
    "CONFIDE_PASSPHRASE": "passphrase of the key store, for confide keys without a terminal",
}
"""Environment names that are not a field of a settings class."""

SHORT_NAMES: dict[str, dict[str, str]] = {
    "proxy": {
        "PROXY_URL": "gateway_url",
        "ENCLAVE_URL": "enclave_url",
        "CLIENT_KEK": "client_kek",
        "JSON_BODY_LIMIT": "json_body_limit",
        "HOST": "host",
        "PORT": "port",
        "CONFIDENTIAL_PROXY_LOG_LEVEL": "log_level",
    }
}
"""Table to environment names without our prefix and their settings. The full name of a setting
wins over its short one; an empty short one counts as not set."""

_COMMON_NAMES = frozenset({"HOST", "PORT"})  # many programs set these; they say nothing of us

MAXIMUM_FILE = 1024 * 1024
"""Longest settings file that is read, in bytes."""

ModelT = TypeVar("ModelT", bound=BaseModel)
Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Resolved(Generic[ModelT]):
    """Settings and where each value came from.

    Attributes:
        settings: The frozen settings object.
        origins: Dotted field name to origin: "flag", "environment NAME", "file PATH" or
            "default".
    """

    settings: ModelT
    origins: Mapping[str, str]


def home_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Return the data directory: ``CONFIDE_HOME`` or the platform's. Creates nothing."""
    chosen = (os.environ if environment is None else environment).get("CONFIDE_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path("confide")


def config_file(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the settings file to read, or None if there is none.

    Raises:
        ConfigError: ``CONFIDE_CONFIG`` names a file that does not exist.
    """
    names = os.environ if environment is None else environment
    if chosen := names.get("CONFIDE_CONFIG"):
        path = Path(chosen).expanduser()
        if not path.is_file():
            raise ConfigError(f"CONFIDE_CONFIG names {path}, which is not a file")
        return path
    path = home_directory(names) / "confide.toml"
    return path if path.is_file() else None


def read_file(path: Path) -> dict[str, dict[str, object]]:
    """Read a settings file.

    Args:
        path: TOML file of at most 1 MiB whose top level holds only tables of `TABLES`.

    Returns:
        Table name to its values.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has an unknown table.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAXIMUM_FILE + 1)
        if len(raw) > MAXIMUM_FILE:
            raise ConfigError(f"{path} is longer than {MAXIMUM_FILE} bytes")
        tables = tomllib.loads(raw.decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for name, table in tables.items():
        if name not in TABLES or not isinstance(table, dict):
            raise ConfigError(
                f"{path} has {name!r} at its top level; known tables: {', '.join(TABLES)}",
                hint=_nearest(name, TABLES),
            )
    return tables


def is_configured(table: str, environment: Iterable[str], path: Path | None = None) -> bool:
    """Say whether the environment or the settings file sets anything for one process."""
    prefix = f"{PREFIX}{table.upper()}__"
    short = SHORT_NAMES.get(table, {}).keys() - _COMMON_NAMES
    path = config_file() if path is None else path
    return any(name.startswith(prefix) or name in short for name in environment) or (
        path is not None and table in read_file(path)
    )


def resolve(
    model: type[ModelT],
    table: str,
    *,
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> Resolved[ModelT]:
    """Build the settings of one process.

    Args:
        model: The settings class.
        table: Its table, such as "gateway"; also the middle of its environment names.
        flags: Dotted field name to value; None means that the flag was not given.
        environment: Environment to read. Default: that of the process.
        path: Settings file. Default: `config_file`.

    Raises:
        ConfigError: An unknown name, or a value that the class refuses.
    """
    names = os.environ if environment is None else environment
    path = config_file(names) if path is None else path
    check_names(names, {table: model})
    layers: list[tuple[Path_, object, str]] = []
    if path is not None:
        values = read_file(path).get(table, {})
        layers += [(field, value, f"file {path}") for field, value in _leaves(values)]
    for name, (field, annotation) in _read_names(model, table):
        if name in names and not (name in SHORT_NAMES.get(table, {}) and not names[name]):
            value = _from_text(name, names[name], annotation)
            layers.append((field, value, f"environment {name}"))
    for dotted, value in (flags or {}).items():
        if value is not None:
            layers.append((tuple(dotted.split(".")), value, "flag"))
    return _validate(model, table, layers)


def flatten(settings: BaseModel) -> dict[str, object]:
    """Return dotted field name to value, in JSON types, with secrets as asterisks.

    Entries of a list of tables are numbered from 0, as in ``backends.0.name``.
    """
    shown = {}
    for field, value in _leaves(_numbered(settings.model_dump(mode="json", by_alias=True))):
        secret = field[-1] in SECRET_NAMES and isinstance(value, str)
        shown[".".join(field)] = "**********" if secret else value
    return shown


def environment_names(model: type[BaseModel], table: str) -> dict[str, tuple[Path_, object]]:
    """List the environment names a settings class reads, with field path and annotation."""
    start = f"{PREFIX}{table.upper()}"
    return {
        "__".join([start, *(part.upper() for part in field)]): (field, annotation)
        for field, annotation in _fields(model)
    }


def _read_names(model: type[BaseModel], table: str) -> Iterator[tuple[str, tuple[Path_, object]]]:
    """Environment names with field path and annotation, the stronger ones last."""
    full = environment_names(model, table)
    for short, setting in SHORT_NAMES.get(table, {}).items():
        name = f"{PREFIX}{table}__{setting}".upper()
        if name in full:
            yield short, full[name]
    yield from full.items()


def check_names(environment: Iterable[str], models: Mapping[str, type[BaseModel]]) -> None:
    """Refuse ``CONFIDE_*`` names that nobody reads.

    Args:
        environment: Names that are set.
        models: Table to settings class. Names of other tables pass here; the process that
            owns them refuses the misspelt ones.

    Raises:
        ConfigError: For the first unknown name, with the nearest known one as a hint.
    """
    known = set(PLAIN_NAMES)
    for table, model in models.items():
        known |= environment_names(model, table).keys()
    others = tuple(f"{PREFIX}{t.upper()}__" for t in TABLES if t not in models)
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and not name.startswith(others):
            raise ConfigError(
                f"nothing reads the environment variable {name}", hint=_nearest(name, known)
            )


def _nearest(name: str, known: Iterable[str]) -> str | None:
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {match[0]}?" if match else None


def _fields(model: type[BaseModel], above: Path_ = ()) -> Iterator[tuple[Path_, object]]:
    for name, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        if nested is None:
            yield (*above, name), field.annotation
        else:
            yield from _fields(nested, (*above, name))


def _nested_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _numbered(values: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            found[name] = _numbered({str(i): item for i, item in enumerate(value)})
        else:
            found[name] = _numbered(value) if isinstance(value, dict) else value
    return found


def _leaves(values: Mapping[str, object], above: Path_ = ()) -> Iterator[tuple[Path_, object]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(cast("dict[str, object]", value), (*above, name))
        else:
            yield (*above, name), value


def _is_collection(annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, Annotated):
        return any(_is_collection(part) for part in get_args(annotation))
    return (origin or annotation) in (list, tuple, set, frozenset, dict) or (
        isinstance(origin, type) and issubclass(origin, typing.Collection)
    )


def _from_text(name: str, text: str, annotation: object) -> object:
    """Turn an environment value into what pydantic expects; scalars stay text."""
    if not _is_collection(annotation):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"{name} is not JSON") from error
    return [part.strip() for part in text.split(",") if part.strip()]


def _validate(
    model: type[ModelT], table: str, layers: Iterable[tuple[Path_, object, str]]
) -> Resolved[ModelT]:
    values: dict[str, object] = {}
    given: dict[str, str] = {}
    for field, value, origin in layers:
        place = values
        for part in field[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"[{table}] {'.'.join(field)} from {origin}: {part} is a value")
            place = inner
        place[field[-1]] = value
        given[".".join(field)] = origin
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        raise _explain(error, model, table, given) from None
    return Resolved(settings, {name: _origin(name, given) for name in flatten(settings)})


def _origin(name: str, given: Mapping[str, str]) -> str:
    parents = (name.rsplit(".", n)[0] for n in range(name.count(".") + 1))
    return next((given[parent] for parent in parents if parent in given), "default")


def _explain(
    error: ValidationError, model: type[BaseModel], table: str, given: Mapping[str, str]
) -> ConfigError:
    # Pydantic's own text quotes the input, which may be a secret; this one never does.
    problems = []
    hint = None
    for entry in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in entry["loc"])
        origin = _origin(name, given)
        source = "" if origin == "default" else f" ({origin})"
        message = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            problems.append(f"[{table}] has no setting {name!r}{source}")
            hint = hint or _nearest(name, (".".join(field) for field, _ in _fields(model)))
        elif not name:  # about several settings at once
            problems.append(f"[{table}] {message}")
        elif entry["type"] == "missing":
            problems.append(f"[{table}] {name} is not set and has no default")
            variable = f"{PREFIX}{table}__{name.replace('.', '__')}".upper()
            hint = hint or f"set {variable}, or {name} under [{table}] in confide.toml"
        else:
            problems.append(f"[{table}] {name}{source}: {message[:1].lower()}{message[1:]}")
    return ConfigError("; ".join(problems), hint=hint)
