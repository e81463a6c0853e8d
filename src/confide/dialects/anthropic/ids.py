"""Identifiers in both dialects, translated without a table.

Anthropic's ids look like ``toolu_...`` and ``msg_...``; clients check them against
``[a-zA-Z0-9_-]+``. An engine's ``call_X`` becomes ``toolu_X``. Any other id is carried in
hexadecimal, ``toolu_raw_<hex>``, so that each id comes back as the engine wrote it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["call_id", "tool_use_id"]

_CALL: Final = "call_"
_TOOL_USE: Final = "toolu_"
_RAW: Final = "toolu_raw_"
_SAFE: Final = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)


def tool_use_id(upstream: str) -> str:
    """Turn the id of a tool call into that of a `tool_use` block; not empty."""
    rest = upstream.removeprefix(_CALL)
    if upstream.startswith(_CALL) and _SAFE.fullmatch(rest) and not rest.startswith("raw_"):
        return _TOOL_USE + rest
    return _RAW + upstream.encode("utf-8", "surrogatepass").hex()


def call_id(tool_use: str) -> str:
    """Turn the id of a `tool_use` block back; ids that are not ours stay as they are."""
    raw = tool_use.removeprefix(_RAW)
    if raw != tool_use and _HEX.fullmatch(raw):
        try:
            return bytes.fromhex(raw).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return tool_use
    if tool_use.startswith(_TOOL_USE) and _SAFE.fullmatch(tool_use):
        return _CALL + tool_use.removeprefix(_TOOL_USE)
    return tool_use
