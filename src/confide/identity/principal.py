"""What the gateway knows about a caller once the API key was recognised."""

from __future__ import annotations

from dataclasses import dataclass

from confide.identity.records import ApiKeyRecord, DomainRecord, UsagePolicy

__all__ = ["Limits", "Principal"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one key.

    Attributes:
        requests_per_minute: Sustained rate.
        burst: Requests that may come at once after a pause.
        max_streams: Answers in flight at once.
    """

    requests_per_minute: int = 60
    burst: int = 120
    max_streams: int = 16


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    Attributes:
        key_id: Id of its API key.
        domain: Id of its domain.
        models: Models it may use, or `("*",)`. Enforced inside the enclave.
        operations: Operations it may use. Enforced inside the enclave.
        usage: How exactly its usage is counted.
        limits: What the gateway enforces.
        expires_at: Unix seconds from which it is refused, or None.
        revoked: It is refused.
    """

    key_id: str
    domain: str
    models: tuple[str, ...]
    operations: tuple[str, ...]
    usage: UsagePolicy
    limits: Limits
    expires_at: int | None
    revoked: bool

    @classmethod
    def of(cls, key: ApiKeyRecord, domain: DomainRecord, defaults: Limits) -> Principal:
        """Join a key with its domain and the gateway's default limits."""
        return cls(
            key_id=key.id,
            domain=domain.id,
            models=domain.models,
            operations=domain.operations,
            usage=domain.usage,
            limits=Limits(
                key.requests_per_minute or defaults.requests_per_minute,
                key.burst or defaults.burst,
                key.max_streams or defaults.max_streams,
            ),
            expires_at=key.expires_at,
            revoked=key.revoked_at is not None,
        )
