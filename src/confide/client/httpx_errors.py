"""Errors at the border to httpx2: theirs become ours, ours can be caught as theirs.

A library that uses httpx2 catches `httpx2.TransportError`; the OpenAI SDK, for example,
then raises its own `APIConnectionError` with the error as `__cause__`. So an error of ours
that leaves a transport is of both kinds: `except confide.errors.AttestationError` and
`except httpx2.TransportError` both catch a refused enclave.
"""

from __future__ import annotations

import httpx2

from confide.errors import ConfideError, TransportError

__all__ = ["as_httpx", "nothing_was_sent", "ours"]

_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.ProxyError,
)
_TWINS: dict[tuple[type[ConfideError], type[httpx2.TransportError]], type[ConfideError]] = {}
_HINT = "is the gateway running, and is its URL right? confide doctor checks the network"


def ours(error: httpx2.TransportError, gateway: str) -> TransportError:
    """Turn a failure of the network into our error.

    Args:
        error: What httpx2 raised.
        gateway: Where we wanted to go, for the message.

    Returns:
        Code "unreachable" if no byte of the request was sent, "timeout" or "cut-off" if the
        gateway or the enclave may have seen it.
    """
    if isinstance(error, _NOT_SENT):
        return TransportError(f"no connection to {gateway}", hint=_HINT)
    if isinstance(error, httpx2.TimeoutException):
        return TransportError(f"no answer from {gateway} in time", code="timeout")
    return TransportError(f"the connection to {gateway} was cut off", code="cut-off")


def nothing_was_sent(error: ConfideError) -> bool:
    """Whether sending the request again could be harmless: it never left this machine."""
    return isinstance(error, TransportError) and error.code == TransportError.code


def as_httpx(error: ConfideError, request: httpx2.Request) -> ConfideError:
    """Make an error that is both of our class and of httpx2's.

    Args:
        error: Ours. Its message, code, hint and attributes are kept.
        request: The request it belongs to, as httpx2 wants it.
    """
    base = httpx2.TransportError
    if isinstance(error, TransportError) and error.code == "timeout":
        base = httpx2.ReadTimeout
    kind = _both(type(error), base)
    twin = kind.__new__(kind)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__dict__["_request"] = request  # what httpx2.RequestError.request returns
    return twin


def _both(kind: type[ConfideError], base: type[httpx2.TransportError]) -> type[ConfideError]:
    key = (kind, base)
    if key not in _TWINS:
        _TWINS[key] = type(kind.__name__, key, {"__module__": kind.__module__})
    return _TWINS[key]
