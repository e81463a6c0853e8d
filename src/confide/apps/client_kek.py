"""The client KEK at start: given, found, or created for good. Never a passing one."""

from __future__ import annotations

import sys
from pathlib import Path

from confide.client.keystore import create_kek, describe, fingerprint, parse_kek
from confide.config.proxy import ProxySettings
from confide.errors import ConfigError

__all__ = ["ready_kek"]


def ready_kek(settings: ProxySettings, home: Path) -> str:
    """Check the KEK of the settings, or that of the data directory; create it on first use.

    Args:
        settings: The settings; `client_kek` wins.
        home: Data directory; the KEK lies in `client/kek`, mode 0600.

    Returns:
        Its fingerprint.

    Raises:
        ConfigError: It is not 32 bytes, others may read its file, or it cannot be written.
    """
    if settings.client_kek is not None:
        return fingerprint(parse_kek(settings.client_kek.get_secret_value(), name="client_kek"))
    path = home / "client" / "kek"
    if path.exists():
        return describe(path).labels[0].id  # without asking for a passphrase
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create {path.parent}: {error.strerror}") from error
    name = fingerprint(create_kek(path))
    sys.stderr.write(f"created the client KEK {path} (fingerprint {name}); keep a copy of it\n")
    return name
