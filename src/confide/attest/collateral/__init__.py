"""Vendor-signed data at rest: a cache, a memory of what was newest, and files to carry.

Nothing here makes anything true. What is kept is untrusted transport; the platform checks
signature and dates each time. No network: what fetches is `confide.client.vendors`.
"""

from confide.attest.collateral.bundle import Bundle, encode_bundle, read_bundle, read_bundle_file
from confide.attest.collateral.cache import CachedEndorsement, EndorsementCache, Period
from confide.attest.collateral.history import Found, History

__all__ = [
    "Bundle",
    "CachedEndorsement",
    "EndorsementCache",
    "Found",
    "History",
    "Period",
    "encode_bundle",
    "read_bundle",
    "read_bundle_file",
]
