"""Load extensions by name, and only those that configuration names.

Built-ins come through the same entry-point groups as extensions of other distributions,
so the door is used every day. Listing a group reads metadata; it imports nothing.
Nothing that is merely installed is ever loaded.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from confide.errors import ConfigError

__all__ = ["BACKENDS", "PLATFORMS", "load", "offered"]

BACKENDS = "confide.backends"
"""Group of classes that satisfy `confide.enclave.inference.backend.Backend`."""

PLATFORMS = "confide.platforms"
"""Group of attestation platforms. The simulated one is not in it, by design."""


def offered(group: str) -> tuple[str, ...]:
    """List the names a group offers, sorted, without importing anything.

    Args:
        group: Entry-point group, such as "confide.backends".
    """
    return tuple(sorted(entry_points(group=group).names))


def load(group: str, name: str) -> object:
    """Load one extension.

    Args:
        group: Entry-point group, such as "confide.backends".
        name: The name written in configuration.

    Returns:
        The object the entry point refers to.

    Raises:
        ConfigError: No installed distribution offers it, more than one does, or it
            cannot be imported because an extra is missing.
    """
    found = tuple(entry_points(group=group, name=name))
    if not found:
        names = ", ".join(offered(group)) or "nothing"
        raise ConfigError(f"no {group} extension is called {name!r}; installed: {names}")
    if len(found) > 1:
        sources = ", ".join(sorted(e.dist.name for e in found if e.dist))
        raise ConfigError(f"{group} extension {name!r} is offered more than once: {sources}")
    try:
        return found[0].load()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{group} extension {name!r} needs the module {error.name!r}, which is not installed",
            hint=f"pip install 'confide[{name}]'" if name == "llamacpp" else None,
        ) from error
