"""Language models without handing over your prompts.

    from confide import EncryptedTransport
    client = OpenAI(
        base_url="https://confide.invalid/v1",
        http_client=httpx2.Client(transport=EncryptedTransport(gateway, policy)),
    )

The names below are stable. They are loaded on first use, so that `import confide` is fast
and needs no extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confide.client.api import AsyncClient, Client
    from confide.client.transport import AsyncEncryptedTransport, EncryptedTransport
    from confide.errors import (
        AgeFileError,
        AppraisalError,
        AttestationError,
        AuthenticationError,
        BindingError,
        ConfideError,
        ConfigError,
        ContextTooLong,
        EnclaveError,
        EndorsementError,
        EvidenceError,
        GatewayError,
        InvalidRequest,
        KeyConfigError,
        KeystoreError,
        ModelNotAllowed,
        ModelNotFound,
        ModelUnavailable,
        NoEnclaveAvailable,
        NoMatchingIdentity,
        OpenError,
        PassphraseError,
        PermissionDenied,
        RateLimited,
        ReplayError,
        RequestTooLarge,
        RouteNotFound,
        SealingError,
        StreamClosed,
        StreamError,
        StreamTruncated,
        TransportError,
    )

__version__ = "0.1.0"

__all__ = [
    "AgeFileError",
    "AppraisalError",
    "AsyncClient",
    "AsyncEncryptedTransport",
    "AttestationError",
    "AuthenticationError",
    "BindingError",
    "Client",
    "ConfideError",
    "ConfigError",
    "ContextTooLong",
    "EnclaveError",
    "EncryptedTransport",
    "EndorsementError",
    "EvidenceError",
    "GatewayError",
    "InvalidRequest",
    "KeyConfigError",
    "KeystoreError",
    "ModelNotAllowed",
    "ModelNotFound",
    "ModelUnavailable",
    "NoEnclaveAvailable",
    "NoMatchingIdentity",
    "OpenError",
    "PassphraseError",
    "PermissionDenied",
    "RateLimited",
    "ReplayError",
    "RequestTooLarge",
    "RouteNotFound",
    "SealingError",
    "StreamClosed",
    "StreamError",
    "StreamTruncated",
    "TransportError",
    "__version__",
]

_CLIENT = frozenset({"AsyncClient", "AsyncEncryptedTransport", "Client", "EncryptedTransport"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "confide.client" if name in _CLIENT else "confide.errors"
    found = globals()[name] = getattr(import_module(home), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
