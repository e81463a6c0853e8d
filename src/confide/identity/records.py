"""Records of domains and API keys, as they are stored.

A domain is a tenant: it says which models and operations its keys may use and how exactly
its usage is counted. An API key belongs to one domain. Times are Unix seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from confide.errors import ConfigError

__all__ = [
    "ANY",
    "DEFAULT_DOMAIN",
    "OPERATIONS",
    "ApiKeyRecord",
    "DomainRecord",
    "UsagePolicy",
    "default_domain",
]

UsagePolicy = Literal["exact", "bucketed"]

#: Allow-list entry that stands for everything.
ANY: Final = "*"

#: Operations a grant can name; the enclave enforces them inside the seal.
OPERATIONS: Final = ("chat", "completions", "embeddings", "models", "audio")

DEFAULT_DOMAIN: Final = "default"

_DOMAIN_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_MODEL: Final = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """A tenant.

    Attributes:
        id: 1 to 63 characters of a-z, 0-9 and hyphen.
        models: Names its keys may use, or `("*",)` for all.
        operations: A subset of `OPERATIONS`.
        usage: "bucketed" rounds token counts up before they leave the enclave, so that they
            do not tell lengths; "exact" does not.
        created_at: Unix seconds.
    """

    id: str
    models: tuple[str, ...] = (ANY,)
    operations: tuple[str, ...] = OPERATIONS
    usage: UsagePolicy = "bucketed"
    created_at: int = 0

    def __post_init__(self) -> None:
        """Refuse values that could not be enforced.

        Raises:
            ConfigError: A malformed id, model name, operation or usage policy.
        """
        if not _DOMAIN_ID.fullmatch(self.id):
            raise ConfigError("a domain id has 1 to 63 characters of a-z, 0-9 and hyphen")
        if not self.models or not all(_MODEL.fullmatch(name) for name in self.models):
            raise ConfigError(f"domain {self.id}: models must be names without spaces, or *")
        if not self.operations or not set(self.operations) <= set(OPERATIONS):
            raise ConfigError(
                f"domain {self.id}: operations are a selection of {', '.join(OPERATIONS)}"
            )
        if self.usage not in ("exact", "bucketed"):
            raise ConfigError(f"domain {self.id}: usage is exact or bucketed")


def default_domain(created_at: int) -> DomainRecord:
    """Return the domain every gateway starts with: all models, bucketed usage."""
    return DomainRecord(DEFAULT_DOMAIN, created_at=created_at)


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """An API key without the key: what is stored.

    Attributes:
        id: "key_" and 16 hexadecimal digits; random, says nothing about the key.
        domain: Id of its domain.
        digest: 32 bytes, HMAC-SHA256 of the key under the server's pepper.
        tail: Last four characters, so that people can tell keys apart.
        label: The operator's note.
        created_at: Unix seconds.
        expires_at: Unix seconds from which it is refused, or None.
        revoked_at: Unix seconds since which it is refused, or None.
        last_used_on: Unix seconds of midnight UTC of the last day it was used, or None. A
            day and no finer, because a time of use says when a person was working.
        requests_per_minute: Sustained rate, or None for the gateway's default.
        burst: Requests that may come at once, or None for the default.
        max_streams: Answers in flight at once, or None for the default.
    """

    id: str
    domain: str
    digest: bytes = field(repr=False)
    tail: str
    label: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_on: int | None = None
    requests_per_minute: int | None = None
    burst: int | None = None
    max_streams: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that would mean nothing.

        Raises:
            ConfigError: A limit below one, or an expiry before the key was made.
        """
        for name in ("requests_per_minute", "burst", "max_streams"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if self.expires_at is not None and self.expires_at <= self.created_at:
            raise ConfigError("the key would expire before it exists")
