"""Build a backend from its table in the enclave's settings.

Backends are entry points of the group `confide.backends`. Only the kind that the measured
settings name is loaded: everything loaded here joins the trusted computing base.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from confide.enclave.inference.backend import Backend
from confide.errors import ConfigError

__all__ = ["GROUP", "build_backend"]

#: Entry-point group of backends.
GROUP = "confide.backends"


def build_backend(kind: str, name: str, options: Mapping[str, object]) -> Backend:
    """Build one backend; it is not started.

    Args:
        kind: Entry-point name, such as "llamacpp".
        name: Its name in the settings.
        options: The other keys of its table.

    Raises:
        ConfigError: No such kind, a library is missing, or an option is wrong.
    """
    found = tuple(entry_points(group=GROUP, name=kind))
    if len(found) != 1:
        kinds = ", ".join(sorted({point.name for point in entry_points(group=GROUP)}))
        raise ConfigError(
            f"backend {name!r}: kind {kind!r} is "
            + ("ambiguous" if found else f"unknown; installed are {kinds}")
        )
    try:
        backend = found[0].load()(name, options)
    except ImportError as error:
        raise ConfigError(
            f"backend {name!r}: kind {kind!r} needs a library that is not installed",
            hint=f"pip install 'confide[{'llamacpp' if kind == 'llamacpp' else 'enclave'}]'",
        ) from error
    if not isinstance(backend, Backend):
        raise ConfigError(f"backend {name!r}: kind {kind!r} is not a backend")
    return backend
