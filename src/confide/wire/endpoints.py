"""Where a gateway and, optionally, one enclave are: a public document at a well-known path.

    {"v": 1, "gateway_url": "https://...", "enclave_url": "https://..."}

It is a convenience and not authenticated beyond TLS; what an enclave must prove is the
business of the client's policy. Source: docs/how-to/run-the-proxy-as-a-daemon.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from confide.wire.strict_json import MalformedJSON, canonical, object_of, only_members, text

__all__ = ["ENDPOINTS_PATH", "MAX_DOCUMENT", "Endpoints"]

ENDPOINTS_PATH: Final = "/.well-known/confide/endpoints.json"
MAX_DOCUMENT: Final = 16 * 1024
"""Longest document, in bytes."""


@dataclass(frozen=True)
class Endpoints:
    """The document.

    Attributes:
        gateway_url: Base URL of the gateway.
        enclave_url: Base URL of the one enclave to use; None leaves it to the gateway.
    """

    gateway_url: str
    enclave_url: str | None = None

    def encode(self) -> bytes:
        """Write it as JSON with sorted names."""
        members: dict[str, object] = {"v": 1, "gateway_url": self.gateway_url}
        if self.enclave_url is not None:
            members["enclave_url"] = self.enclave_url
        return canonical(members)

    @classmethod
    def parse(cls, raw: bytes) -> Endpoints:
        """Read it.

        Raises:
            MalformedJSON: Not this format or version, or longer than `MAX_DOCUMENT`.
        """
        members = object_of(raw, max_bytes=MAX_DOCUMENT)
        names = {"v", "gateway_url", *({"enclave_url"} & members.keys())}
        only_members(members, frozenset(names))
        if type(members["v"]) is not int or members["v"] != 1:
            raise MalformedJSON("v is not 1")
        return cls(**{name: text(members[name], name) for name in names - {"v"}})
