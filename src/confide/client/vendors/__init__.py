"""Fetch endorsements from the services of AMD, Intel and NVIDIA, when somebody asks for it.

Nothing of confide comes here by itself: `confide endorsements fetch` does. What is fetched is
looked at for its shape and its dates, and otherwise believed no more than any other collateral.
A vendor learns from a request which chip, and which address, asks.
"""

from confide.client.vendors.fetching import (
    Fetched,
    chain_keys,
    fetch_answer,
    fetch_key,
    fetchable,
    period_of,
)
from confide.client.vendors.https import VendorHttp

__all__ = [
    "Fetched",
    "VendorHttp",
    "chain_keys",
    "fetch_answer",
    "fetch_key",
    "fetchable",
    "period_of",
]
