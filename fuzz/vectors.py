"""The recorded evidence of the repository, as seeds."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "binary", "read", "read_json", "utc"]

FOLDER = Path(__file__).parents[1] / "tests" / "vectors" / "attestation"


def read(name: str) -> bytes:
    """Return a recorded file."""
    return (FOLDER / name).read_bytes()


def read_json(name: str) -> Any:
    """Return a recorded JSON file, parsed."""
    return json.loads(read(name))


def binary(content: bytes | str | list[int]) -> bytes:
    """Undo hexadecimal, or else base64; a list holds numbers."""
    if isinstance(content, list):
        return bytes(content)
    text = content.decode() if isinstance(content, bytes) else content
    try:
        return bytes.fromhex(text.strip())
    except ValueError:
        packed = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
        return base64.b64decode(packed + "=" * (-len(packed) % 4))


def utc(text: str) -> datetime:
    """Return a moment of the manifest of vectors."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
