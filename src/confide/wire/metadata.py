"""The closed lists of clear headers, and the two that the protocol itself seals.

Whatever is not in a list does not cross the border it belongs to. No list holds a
model name, a path or anything a user typed; `docs/security/metadata.md` says of
each field who reads it and why. Names are lower-case.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DOCUMENT_HEADER",
    "GRANT_HEADER",
    "INNER_REQUEST_HEADERS",
    "REQUEST_HEADERS",
    "REQUEST_ID_HEADER",
    "RESPONSE_HEADERS",
    "UPSTREAM_HEADERS",
    "USAGE_TRAILER",
]

DOCUMENT_HEADER: Final = "confide-document"
GRANT_HEADER: Final = "confide-grant"
REQUEST_ID_HEADER: Final = "confide-request-id"
USAGE_TRAILER: Final = "confide-usage"

REQUEST_HEADERS: Final = frozenset(
    {
        "authorization",
        "content-type",
        "content-length",
        "transfer-encoding",
        "incremental",
        "host",
        "accept",
        DOCUMENT_HEADER,
    }
)
"""Client to gateway. A user agent is neither sent nor forwarded."""

UPSTREAM_HEADERS: Final = frozenset(
    {
        "content-type",
        "content-length",
        "transfer-encoding",
        "incremental",
        "host",
        GRANT_HEADER,
        REQUEST_ID_HEADER,
    }
)
"""Gateway to enclave: no credential of the caller."""

RESPONSE_HEADERS: Final = frozenset(
    {
        "content-type",
        "content-length",
        "transfer-encoding",
        "incremental",
        "cache-control",
        "date",
        "retry-after",
        REQUEST_ID_HEADER,
    }
)
"""Enclave to gateway to client."""

INNER_REQUEST_HEADERS: Final = frozenset({"date", DOCUMENT_HEADER})
"""Written inside the seal by the sealing side. What of the caller's own headers travels beside
them, `confide.wire.inner_headers` says."""
