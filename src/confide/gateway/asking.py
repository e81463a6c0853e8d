"""Make one small request to an enclave, within a time and a size."""

from __future__ import annotations

import asyncio
from typing import Final

from confide.errors import TransportError
from confide.gateway.upstream import Headers, Upstream

__all__ = ["fetch"]

_TIMEOUT_S: Final = 5.0


async def fetch(
    upstream: Upstream,
    method: bytes,
    target: bytes,
    *,
    headers: Headers = (),
    body: bytes = b"",
    limit: int = 64 * 1024,
    timeout_s: float = _TIMEOUT_S,
) -> bytes:
    """Make one small request to an enclave.

    Returns:
        The body of a 2xx answer.

    Raises:
        NoEnclaveAvailable: No connection.
        TransportError: No answer in time, another status, or a body over `limit` bytes.
    """
    try:
        async with asyncio.timeout(timeout_s):
            exchange = await upstream.open(method, target, headers, body, length=len(body))
            try:
                await exchange.head()
                content = await exchange.read(limit)
            finally:
                exchange.close()
    except TimeoutError:
        raise TransportError("the enclave did not answer in time", code="enclave-slow") from None
    if not 200 <= exchange.status < 300:
        raise TransportError(f"the enclave answered {exchange.status}", code="enclave-refused")
    return content
