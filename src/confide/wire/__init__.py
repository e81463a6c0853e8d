"""What anyone on the path may read: identifiers, layouts and limits, no ciphers.

The blind gateway lives on this package alone. Every decoder here checks lengths
before it copies, refuses bytes left over, and raises one of the classes in
`confide.errors`.
"""

from __future__ import annotations

__all__ = [
    "directory",
    "envelope",
    "frames",
    "grants",
    "header_lists",
    "inner_headers",
    "key_config",
    "key_document",
    "media_types",
    "metadata",
    "problems",
    "strict_json",
    "suites",
    "usage",
]
