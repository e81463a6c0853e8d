"""Media types of the protocol and the version they pin.

Chunked OHTTP is a draft: `DRAFT` and `PROTOCOL` name exactly what is spoken, so a
later draft is another protocol and not a silent change.
"""

from __future__ import annotations

__all__ = [
    "CHUNKED_REQUEST",
    "CHUNKED_RESPONSE",
    "COLLATERAL",
    "DIRECTORY",
    "DRAFT",
    "EVIDENCE",
    "OHTTP_KEYS",
    "PROBLEM",
    "PROTOCOL",
    "USAGE",
]

OHTTP_KEYS = "application/ohttp-keys"
CHUNKED_REQUEST = "message/ohttp-chunked-req"
CHUNKED_RESPONSE = "message/ohttp-chunked-res"
EVIDENCE = "application/vnd.confide.evidence+json"
COLLATERAL = "application/vnd.confide.collateral+json"
DIRECTORY = "application/vnd.confide.directory+json"
USAGE = "application/vnd.confide.usage+json"
PROBLEM = "application/problem+json"

DRAFT = "draft-08"  # draft-ietf-ohai-chunked-ohttp-08
PROTOCOL = "confide/1"
