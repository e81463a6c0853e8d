"""Read the head of a GGUF model file: is it one, and what context was it trained for?

Read before any engine starts, so that a wrong path, a cut download or a web page saved as a
model is one sentence and not a crash in native code.

Source: the GGUF specification, versions 2 and 3 (ggml/docs/gguf.md). All numbers are
little-endian; a string is its length as uint64 and its bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from confide.errors import ConfigError

__all__ = ["GGUFHeader", "read_gguf_header"]

_STRING: Final = 8
_ARRAY: Final = 9
#: Type number to struct format of the scalars.
_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip

_MAX_FIELDS: Final = 65_536
_MAX_TENSORS: Final = 1_000_000
_MAX_STRING: Final = 16 * 1024 * 1024
_MAX_ARRAY: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class GGUFHeader:
    """What is needed to start an engine.

    Attributes:
        architecture: Such as "llama".
        context_length: Tokens the model was trained for, or None.
        pooled: The file says how token vectors become one embedding.
    """

    architecture: str
    context_length: int | None
    pooled: bool


class _Malformed(ValueError):
    """The bytes are not a GGUF head."""


def read_gguf_header(path: Path) -> GGUFHeader:
    """Read the head of a model file.

    Raises:
        ConfigError: It is missing, not readable, not GGUF, or cut. Names the file.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"model file {path}: {reason}",
            hint="model_path in the settings must name a file that this user may read",
        ) from error
    except (_Malformed, struct.error, UnicodeDecodeError):
        raise ConfigError(
            f"model file {path}: not a usable GGUF file",
            hint="download it again; a GGUF file starts with the four letters GGUF",
        ) from None


def _read(file: BinaryIO) -> GGUFHeader:
    magic, version, tensors, fields = struct.unpack("<4sIQQ", _take(file, 24))
    if magic != b"GGUF" or version not in (2, 3) or not 0 < tensors <= _MAX_TENSORS:
        raise _Malformed
    if not 0 < fields <= _MAX_FIELDS:
        raise _Malformed
    architecture, context, pooled = "", None, False
    for _ in range(fields):
        key = _string(file).decode("utf-8")
        value = _value(file, _number(file, "<I"))
        if key == "general.architecture" and isinstance(value, bytes):
            architecture = value.decode("utf-8")
        elif key.endswith(".context_length") and isinstance(value, int):
            context = value
        elif key.endswith(".pooling_type") and isinstance(value, int):
            pooled = value != 0
    if not architecture:
        raise _Malformed
    return GGUFHeader(architecture, context, pooled)


def _take(file: BinaryIO, length: int) -> bytes:
    content = file.read(length)
    if len(content) != length:
        raise _Malformed
    return content


def _number(file: BinaryIO, form: str) -> int | float | bool:
    (value,) = struct.unpack(form, _take(file, struct.calcsize(form)))
    return value  # type: ignore[no-any-return]


def _string(file: BinaryIO) -> bytes:
    length = int(_number(file, "<Q"))
    if length > _MAX_STRING:
        raise _Malformed
    return _take(file, length)


def _value(file: BinaryIO, kind: int | float, *, inside: bool = False) -> object:
    """Read one value; the content of arrays is skipped."""
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY and not inside:
        inner, count = struct.unpack("<IQ", _take(file, 12))
        if count > _MAX_ARRAY:
            raise _Malformed
        if inner in _SCALARS:
            _take(file, struct.calcsize(_SCALARS[inner]) * count)
        else:
            for _ in range(count):
                _value(file, inner, inside=True)
        return None
    if kind not in _SCALARS:
        raise _Malformed
    return _number(file, _SCALARS[int(kind)])
