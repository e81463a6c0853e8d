"""The models the enclave offers, their limits, and which backends serve each.

The catalog comes from the measured settings and never changes while the enclave runs, so
what a model name means is part of what was attested.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from confide.enclave.inference.backend import UNTYPED, ModelInfo, Operation
from confide.errors import ConfigError, InvalidRequest, ModelNotFound

__all__ = ["Catalog", "CatalogEntry"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}", re.ASCII)
_CLASS: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True)
class CatalogEntry:
    """One model on offer.

    Attributes:
        name: What clients ask for.
        backends: Names of the backends that serve it, in order of preference. The first
            healthy one is asked; the others stand by.
        model_class: Coarse label that leaves the enclave in usage statements.
        backend_model: What the backends call it; None if they use `name`.
        context_length: Tokens of prompt and answer together, for information.
        operations: What it can be asked.
    """

    name: str
    backends: tuple[str, ...]
    model_class: str = "default"
    backend_model: str | None = None
    context_length: int | None = None
    operations: tuple[Operation, ...] = UNTYPED

    @property
    def info(self) -> ModelInfo:
        """The entry as clients see it."""
        return ModelInfo(self.name, self.model_class, self.context_length, self.operations)


class Catalog:
    """Model names to entries; lookup is exact.

    Args:
        entries: At least one.
        backends: Names of the backends that exist.

    Raises:
        ConfigError: A name is malformed, collides with another or marks a remote model; a
            class is malformed; a backend is unknown, or none is given.
    """

    def __init__(self, entries: Iterable[CatalogEntry], backends: Collection[str]) -> None:
        self._entries: dict[str, CatalogEntry] = {}
        spellings: dict[str, str] = {}
        for entry in entries:
            _check_entry(entry, backends)
            # "llama3", "Llama3" and "llama3:latest" are one model to Ollama; two entries
            # that a reader or an engine may take for each other are refused.
            spelling = entry.name.casefold().removesuffix(":latest")
            if spelling in spellings:
                raise ConfigError(f"models {spellings[spelling]!r} and {entry.name!r} collide")
            spellings[spelling] = entry.name
            self._entries[entry.name] = entry
        if not self._entries:
            raise ConfigError("no model is offered", hint="add a [[models]] table")

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str, operation: Operation) -> CatalogEntry:
        """Look a model up.

        Raises:
            ModelNotFound: Not offered.
            InvalidRequest: Offered, but not for this operation.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise ModelNotFound("no such model is offered")
        if operation not in entry.operations:
            raise InvalidRequest(f"this model is not offered for {operation}", param="model")
        return entry


def _check_entry(entry: CatalogEntry, backends: Collection[str]) -> None:
    for name in (entry.name, entry.backend_model or entry.name):
        if not _NAME.fullmatch(name):
            raise ConfigError(f"model {name!r}: not a usable name")
        if name.casefold().endswith((":cloud", "-cloud")):
            raise ConfigError(f"model {name!r}: names a remote model; prompts would leave")
    if not _CLASS.fullmatch(entry.model_class):
        raise ConfigError(f"model {entry.name!r}: class {entry.model_class!r} is not usable")
    if not entry.backends:
        raise ConfigError(f"model {entry.name!r}: no backend serves it")
    if len(set(entry.backends)) != len(entry.backends):
        raise ConfigError(f"model {entry.name!r}: a backend is named twice")
    for backend in entry.backends:
        if backend not in backends:
            raise ConfigError(f"model {entry.name!r}: there is no backend {backend!r}")
