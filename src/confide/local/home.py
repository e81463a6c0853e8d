"""The data directory of `confide up`: what lies where, and with which permissions.

    <home>/client.env                 variables for any OpenAI or Anthropic client, 0600
    <home>/client/{kek,api_key}       the user's secrets, 0600
    <home>/gateway/                   database, grant key, pepper, settings
    <home>/enclave/enclave.toml       the measured settings of the local enclave
    <home>/simulated/root.{key,pub}   the INSECURE root of simulated evidence
    <home>/logs/{proxy,gateway,enclave}.log
    <home>/run/                       lock and process ids

`CONFIDE_HOME` overrides the platform's default place. Everything is created private
(directories 0700, files 0600) and written whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from confide.config.sources import home_directory
from confide.errors import ConfigError

__all__ = ["Home", "write_private"]

_FOLDERS = ("client", "gateway", "enclave", "simulated", "logs", "run")


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all.

    Args:
        path: Where; replaced atomically if it exists.
        content: The bytes.

    Raises:
        ConfigError: The directory is not writable or the disk is full; `path` is unchanged.
    """
    scratch: str | None = None
    try:
        descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        if scratch is not None:
            Path(scratch).unlink(missing_ok=True)
        raise ConfigError(
            f"cannot write {path}: {error.strerror}",
            hint="set CONFIDE_HOME to a directory you can write",
        ) from error


@dataclass(frozen=True)
class Home:
    """Paths below one data directory. Creating the object touches nothing."""

    path: Path

    @classmethod
    def default(cls) -> Home:
        """The directory named by CONFIDE_HOME, or the platform's user data directory."""
        return cls(home_directory())

    def prepare(self) -> None:
        """Create the directories, private, and prove that they can be written.

        Raises:
            ConfigError: A directory cannot be created or written; it is named.
        """
        for folder in (self.path, *(self.path / name for name in _FOLDERS)):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"cannot create the data directory {folder}: {error.strerror}",
                    hint="set CONFIDE_HOME to a directory you can write",
                ) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ConfigError(
                    f"the data directory {folder} is not writable",
                    hint="set CONFIDE_HOME to a directory you can write",
                )
        probe = self.path / "run" / "writable"
        write_private(probe, b"")
        probe.unlink()

    @property
    def client_env(self) -> Path:
        """Shell variables for any client, mode 0600."""
        return self.path / "client.env"

    @property
    def api_key(self) -> Path:
        """The gateway API key of this machine's user."""
        return self.path / "client" / "api_key"

    @property
    def kek(self) -> Path:
        """The client KEK (32 bytes, base64)."""
        return self.path / "client" / "kek"

    @property
    def gateway(self) -> Path:
        """Directory of the gateway's database and keys."""
        return self.path / "gateway"

    @property
    def enclave_settings(self) -> Path:
        """The one measured settings file of the local enclave."""
        return self.path / "enclave" / "enclave.toml"

    @property
    def simulated_root(self) -> Path:
        """Private root of simulated evidence. INSECURE by nature."""
        return self.path / "simulated" / "root.key"

    @property
    def run(self) -> Path:
        """Directory of the lock and of process ids."""
        return self.path / "run"

    def log(self, room: str) -> Path:
        """Log file of one room: "proxy", "gateway" or "enclave"."""
        return self.path / "logs" / f"{room}.log"
