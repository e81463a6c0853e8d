"""Endorsements: what a chip vendor says about its chips (certificates, lists, TCB data).

Everything here is untrusted transport of vendor-signed bytes: a source only *finds* them,
and the platform checks their signatures and dates every time it uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from confide.attest.strict_json import read_base64url
from confide.errors import EndorsementError

__all__ = ["Endorsement", "EndorsementSource", "FirstOf", "StapledEndorsements", "require"]

_MAX_ENDORSEMENT = 256 * 1024


@dataclass(frozen=True)
class Endorsement:
    """One piece of vendor-signed data, not yet checked.

    Attributes:
        name: Such as "snp/vek".
        content: At most 256 KiB, as the vendor made it.
        source: Where it was found, for messages.
    """

    name: str
    content: bytes = field(repr=False)
    source: str


class EndorsementSource(Protocol):
    """A place where endorsements are found: a file, a cache, the envelope itself."""

    def find(self, name: str) -> Endorsement | None:
        """Return what is held under `name`, or None.

        Raises:
            EvidenceError: What is held there is malformed.
        """
        ...


@dataclass(frozen=True)
class StapledEndorsements:
    """What the sender stapled to its envelope: `{"snp": {"vek": "<base64url>"}}`."""

    collateral: Mapping[str, object] = field(repr=False)

    def find(self, name: str) -> Endorsement | None:
        """Return the stapled endorsement called "group/part", or None."""
        group, _, part = name.partition("/")
        held = self.collateral.get(group)
        content = held.get(part) if isinstance(held, Mapping) else None
        if content is None:
            return None
        decoded = read_base64url(content, "collateral", limit=_MAX_ENDORSEMENT)
        return Endorsement(name=name, content=decoded, source="stapled")


@dataclass(frozen=True)
class FirstOf:
    """Asks several sources in order."""

    sources: tuple[EndorsementSource, ...]

    def find(self, name: str) -> Endorsement | None:
        """Return what the first source that knows `name` holds, or None."""
        for source in self.sources:
            found = source.find(name)
            if found is not None:
                return found
        return None


def require(source: EndorsementSource, name: str) -> Endorsement:
    """Return the endorsement called `name`.

    Raises:
        EndorsementError: collateral.missing.
    """
    found = source.find(name)
    if found is None:
        raise EndorsementError(f"no endorsement {name}", code="collateral.missing")
    return found
