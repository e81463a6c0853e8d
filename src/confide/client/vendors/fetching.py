"""Which vendor serves which kind of endorsement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from confide.attest.collateral import Period
from confide.attest.endorsements import Endorsement, EndorsementKey
from confide.client.vendors.amd import HOST as AMD
from confide.client.vendors.amd import fetch_amd, list_period
from confide.client.vendors.https import VendorHttp
from confide.client.vendors.intel import HOST as INTEL
from confide.client.vendors.intel import collateral_period, fetch_intel
from confide.client.vendors.nvidia import Question, answer_period, questions
from confide.errors import ConfideError, ConfigError

__all__ = ["Fetched", "chain_keys", "fetch_answer", "fetch_key", "fetchable", "period_of"]

_FETCHERS: Final = {
    "snp/vek": (AMD, fetch_amd),
    "snp/chain": (AMD, fetch_amd),
    "snp/crl": (AMD, fetch_amd),
    "tdx/collateral": (INTEL, fetch_intel),
}


@dataclass(frozen=True)
class Fetched:
    """What a vendor answered.

    Attributes:
        endorsement: Key, content and host.
        period: Its dates, for fetching again.
    """

    endorsement: Endorsement
    period: Period = field(default_factory=Period)


def fetchable(key: EndorsementKey) -> bool:
    """Whether a key alone is enough to ask a vendor."""
    return key.kind in _FETCHERS


def fetch_key(http: VendorHttp, key: EndorsementKey) -> Fetched:
    """Fetch one endorsement by its key.

    Raises:
        ConfigError: No vendor serves it, or not by its key alone.
        TransportError: No answer, or one of another shape.
    """
    if key.kind.startswith("nvidia/"):
        raise ConfigError(
            f"{key}: NVIDIA is asked about a device's whole chain",
            hint="confide endorsements fetch --for URL takes it from the evidence",
        )
    if not fetchable(key):
        known = ", ".join(_FETCHERS)
        raise ConfigError(f"no vendor serves {key}; known kinds: {known}")
    host, fetch = _FETCHERS[key.kind]
    content, period = fetch(http, key)
    return Fetched(Endorsement(key, content, host), period)


def chain_keys(chain: str) -> dict[EndorsementKey, Question]:
    """List what to ask NVIDIA about the device with this chain.

    Raises:
        ConfigError: It is not such a chain.
    """
    return {question.key: question for question in questions(chain)}


def fetch_answer(http: VendorHttp, question: Question) -> Fetched:
    """Ask NVIDIA; see `Question.ask`."""
    content, period = question.ask(http)
    return Fetched(Endorsement(question.key, content, question.host), period)


def period_of(found: Endorsement) -> Period:
    """Return what an endorsement says of its dates, unchecked; none if it says nothing readable."""
    kind = found.key.kind
    try:
        if kind in ("snp/crl", "nvidia/crl"):
            return list_period(found.content, found.source)
        if kind == "nvidia/ocsp":
            return answer_period(found.content)
        if kind == "tdx/collateral":
            return collateral_period(found.content)
    except ConfideError:
        pass
    return Period()
