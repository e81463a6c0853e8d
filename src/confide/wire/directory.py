"""The directory: every replica's key document, evidence and manifest, byte for byte.

An enclave serves a directory with one replica; the gateway joins the encoded
strings of its enclaves without touching them. A client believes nothing in it
before it verified the evidence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from confide.errors import KeyConfigError
from confide.wire import strict_json
from confide.wire.strict_json import MalformedJSON

__all__ = ["MAX_DIRECTORY", "MAX_REPLICAS", "Directory", "Replica"]

MAX_DIRECTORY = 16 * 1024 * 1024
MAX_REPLICAS = 64
_NAMES = ("document", "evidence", "manifest")


@dataclass(frozen=True, slots=True)
class Replica:
    """What one enclave says of itself, unverified.

    Attributes:
        document: Key document, exactly as the enclave made it.
        evidence: Evidence envelope in its cached form (no client nonce).
        manifest: Release and model manifest the document names by digest.
    """

    document: bytes
    evidence: bytes
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """The replicas a gateway (or one enclave) offers."""

    replicas: tuple[Replica, ...]

    def encode(self) -> bytes:
        """Write the JSON form."""
        replicas = [
            {name: strict_json.b64url(getattr(replica, name)) for name in _NAMES}
            for replica in self.replicas
        ]
        return json.dumps({"v": 1, "replicas": replicas}, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, raw: bytes) -> Directory:
        """Read the JSON form.

        Args:
            raw: At most 16 MiB.

        Raises:
            KeyConfigError: Malformed, another version, or more than 64 replicas.
        """
        try:
            members = strict_json.object_of(raw, max_bytes=MAX_DIRECTORY)
            strict_json.only_members(members, ("v", "replicas"), where="directory")
            if type(members["v"]) is not int or members["v"] != 1:
                raise MalformedJSON("another version")
            replicas = members["replicas"]
            if not isinstance(replicas, list) or len(replicas) > MAX_REPLICAS:
                raise MalformedJSON(f"replicas is not a list of at most {MAX_REPLICAS}")
            return cls(tuple(_replica(one) for one in replicas))
        except MalformedJSON as error:
            raise KeyConfigError(f"the directory is not usable: {error}") from None


def _replica(value: object) -> Replica:
    if not isinstance(value, dict):
        raise MalformedJSON("a replica is not an object")
    strict_json.only_members(value, _NAMES, where="replica")
    return Replica(*(strict_json.b64url_bytes(value[name], name) for name in _NAMES))
