"""Every parser of untrusted evidence, by name. The others stand in the modules of this folder."""

from __future__ import annotations

import importlib.util
from functools import cache

from fuzz.oracle import Target
from fuzz.targets import azure, documents, nvidia, snp, tdx, vendors

__all__ = ["targets"]


@cache
def targets() -> dict[str, Target]:
    """Return all targets. Making them reads vectors and signs a few things, once.

    A target that needs an extra which is not installed is left out.
    """
    found = [
        one for part in (snp, tdx, nvidia, azure, documents, vendors) for one in part.targets()
    ]
    usable = [one for one in found if not one.needs or importlib.util.find_spec(one.needs)]
    return {one.name: one for one in usable}
