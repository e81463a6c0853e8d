"""Build a backend from its table in the enclave's settings.

Backends are entry points of the group `confide.backends`. Only the kind that the measured
settings name is loaded: everything loaded here joins the trusted computing base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from confide.enclave.inference.backend import Backend
from confide.errors import ConfigError
from confide.plugins import BACKENDS, load

__all__ = ["build_backend"]


def build_backend(kind: str, name: str, options: Mapping[str, object]) -> Backend:
    """Build one backend; it is not started.

    Args:
        kind: Entry-point name, such as "llamacpp".
        name: Its name in the settings.
        options: The other keys of its table.

    Raises:
        ConfigError: No such kind, a library is missing, or an option is wrong.
    """
    build = cast(Callable[[str, Mapping[str, object]], object], load(BACKENDS, kind))
    backend = build(name, options)
    if not isinstance(backend, Backend):
        raise ConfigError(f"backend {name!r}: kind {kind!r} is not a backend")
    return backend
