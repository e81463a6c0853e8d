"""Where the client KEK lies: one file that only its owner may read.

The KEK (key encryption key, 32 bytes) never leaves this machine. It wraps the keys of
files; a lost KEK means lost files, so it is created once and never replaced silently.
Requests and answers do not need it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from confide.crypto.secret_bytes import SecretBytes
from confide.errors import ConfigError

__all__ = ["KEK_LENGTH", "create_kek", "encode_kek", "fingerprint", "load_kek", "parse_kek"]

KEK_LENGTH: Final = 32
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_LABEL: Final = b"confide/kek-fingerprint/v1\0"


def parse_kek(text: str, *, name: str = "the client KEK") -> SecretBytes:
    """Read a KEK as people write it.

    Args:
        text: 64 hexadecimal digits, or base64 (standard or URL alphabet, padding optional).
            White space around it is ignored.
        name: What to call it in the error.

    Raises:
        ConfigError: It is neither, or not 32 bytes. The message does not quote it.
    """
    text = text.strip()
    if _HEX.fullmatch(text):
        return SecretBytes(bytes.fromhex(text))
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{name} is neither hexadecimal nor base64") from None
    if len(raw) != KEK_LENGTH:
        raise ConfigError(f"{name} must be {KEK_LENGTH} bytes in base64 or hex, not {len(raw)}")
    return SecretBytes(raw)


def encode_kek(kek: SecretBytes) -> str:
    """Write a KEK as base64, 44 characters."""
    return base64.b64encode(kek.reveal()).decode()


def fingerprint(kek: SecretBytes) -> str:
    """Name a KEK without giving anything of it away: 16 hexadecimal digits.

    A hash of 32 random bytes cannot be turned back; the label keeps it apart from any
    other use of the same bytes.
    """
    return hashlib.sha256(_LABEL + kek.reveal()).hexdigest()[:16]


def create_kek(path: Path) -> SecretBytes:
    """Create a KEK file, mode 0600, whole or not at all; keep an existing one.

    Args:
        path: Where. The directory must exist.

    Returns:
        The KEK in the file, whoever created it.

    Raises:
        ConfigError: The file cannot be written, or an existing one is not usable.
    """
    kek = SecretBytes(secrets.token_bytes(KEK_LENGTH))
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(encode_kek(kek) + "\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, fails if someone else created the file meanwhile.
            os.link(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except FileExistsError:
        return load_kek(path)
    except OSError as error:
        raise ConfigError(f"cannot write the client KEK {path}: {error.strerror}") from error
    return kek


def load_kek(path: Path) -> SecretBytes:
    """Read a KEK file.

    Raises:
        ConfigError: It cannot be read, others may read it, or it holds no KEK.
    """
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(1024)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the client KEK {path}") from error
    if mode & 0o077:
        raise ConfigError(
            f"the client KEK {path} may be read by others (mode {mode:04o})",
            hint=f"chmod 600 {path}",
        )
    return parse_kek(text, name=f"the client KEK {path}")
