"""Make what a gateway needs before it can serve: database, grant key, pepper.

Everything is made once, readable by its owner only, and never replaced: a new pepper would
make every API key unknown, a new grant key would make every enclave refuse this gateway.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from confide.errors import ConfigError
from confide.gateway.schema import SchemaState, inspect, require_current
from confide.identity.api_keys import PEPPER_LENGTH

__all__ = ["GatewayState", "Paths", "open_state", "prepare"]

_MAX_SECRET = 16 * 1024


class Paths(Protocol):
    """Where things are; the gateway's settings have these attributes."""

    @property
    def database(self) -> Path:
        """SQLite database."""

    @property
    def grant_key_file(self) -> Path:
        """Ed25519 private key, PKCS #8 in PEM."""

    @property
    def pepper_file(self) -> Path:
        """32 bytes in hexadecimal."""


@dataclass(frozen=True)
class GatewayState:
    """What was made or found.

    Attributes:
        database: The database, with the current schema.
        grant_key: Signs grants; enclaves know its public half from their settings.
        pepper: 32 bytes for `confide.identity.api_keys.digest`.
        backup: Copy of the database from before an upgrade, if there was one.
    """

    database: Path
    grant_key: Ed25519PrivateKey = field(repr=False)
    pepper: bytes = field(repr=False)
    backup: Path | None = None

    @property
    def grant_public_key(self) -> str:
        """Public half of the grant key, base64url: what an enclave's settings name."""
        raw = self.grant_key.public_key().public_bytes_raw()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def prepare(paths: Paths) -> GatewayState:
    """Make or upgrade the database and make the keys that are missing.

    Raises:
        ConfigError: A file cannot be used, or is missing although others belong to it.
    """
    from confide.gateway.migrate import migrate  # 40 MB that a serving process does not need

    fresh = inspect(paths.database) is SchemaState.FRESH
    grant_key = _grant_key(paths.grant_key_file, create=fresh)
    pepper = _pepper(paths.pepper_file, create=fresh)
    backup = migrate(paths.database)
    return GatewayState(paths.database, grant_key, pepper, backup)


def open_state(paths: Paths) -> GatewayState:
    """Open what exists for serving; make everything on the first start only.

    Raises:
        ConfigError: As `prepare`, and for a database that must be migrated first.
    """
    if inspect(paths.database) is SchemaState.FRESH:
        return prepare(paths)
    require_current(paths.database)
    grant_key = _grant_key(paths.grant_key_file, create=False)
    return GatewayState(paths.database, grant_key, _pepper(paths.pepper_file, create=False))


def _grant_key(path: Path, *, create: bool) -> Ed25519PrivateKey:
    if not path.exists():
        _refuse_missing(path, "grant key", create=create)
        made = Ed25519PrivateKey.generate()
        pem = made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _write(path, pem)
        return made
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} holds no unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds another kind of key than Ed25519")
    return key


def _pepper(path: Path, *, create: bool) -> bytes:
    if not path.exists():
        _refuse_missing(path, "pepper", create=create)
        made = secrets.token_bytes(PEPPER_LENGTH)
        _write(path, made.hex().encode() + b"\n")
        return made
    try:
        pepper = bytes.fromhex(_read(path).decode("ascii").strip())
    except ValueError:
        pepper = b""
    if len(pepper) != PEPPER_LENGTH:
        raise ConfigError(f"{path} must hold {PEPPER_LENGTH} bytes in hexadecimal")
    return pepper


def _refuse_missing(path: Path, what: str, *, create: bool) -> None:
    if not create:
        raise ConfigError(
            f"the {what} {path} is missing, but the database was made with one",
            hint="restore it from your backup; a new one would make every key or enclave useless",
        )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & stat.S_IRWXO:
                raise ConfigError(f"everybody can read {path}", hint=f"chmod 600 {path}")
            return stream.read(_MAX_SECRET)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # O_EXCL: two gateways starting at once must not each keep a different secret.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error
