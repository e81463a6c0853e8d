"""The user's side: verify the enclave, seal every request, open every answer.

`EncryptedTransport` and `AsyncEncryptedTransport` make any httpx2-based SDK private;
`Client` and `AsyncClient` are a small SDK of our own. Everything is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confide.client.api import AsyncClient, Client
    from confide.client.transport import AsyncEncryptedTransport, EncryptedTransport

__all__ = ["AsyncClient", "AsyncEncryptedTransport", "Client", "EncryptedTransport"]

_HOMES = {
    "AsyncClient": "confide.client.api",
    "AsyncEncryptedTransport": "confide.client.transport",
    "Client": "confide.client.api",
    "EncryptedTransport": "confide.client.transport",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
