"""Every parser of untrusted evidence, by name. The others stand in the modules of this folder."""

from __future__ import annotations

from functools import cache

from fuzz.oracle import Target
from fuzz.targets import azure, documents, nvidia, snp, tdx

__all__ = ["targets"]


@cache
def targets() -> dict[str, Target]:
    """Return all targets. Making them reads vectors and signs a few things, once."""
    found = [one for part in (snp, tdx, nvidia, azure, documents) for one in part.targets()]
    return {one.name: one for one in found}
