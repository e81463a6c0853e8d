"""Stop an SDK from repeating on its own what must not be repeated.

SDKs repeat a failed request by themselves and cannot know whether it was processed; this
side knows. OpenAI's SDKs mark a repetition with the header `x-stainless-retry-count`. If the
first try may have been processed, or no enclave was accepted, the repetition ends in
the same error and nothing is sent. A request the user sends again is always sent.

An SDK repeats inside the call that failed: in the same task, or in the same thread. So a
failure is remembered for its task or thread, and until that sends the same as a first try;
what other callers of the same transport ask does not matter. The proxy, whose callers are
other programs, tells them with `x-should-retry` instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from confide.client.httpx_errors import nothing_was_sent
from confide.client.kept_errors import bare
from confide.errors import ConfideError, KeyConfigError

__all__ = ["RETRY_HEADER", "RetryGuard"]

RETRY_HEADER: Final = "x-stainless-retry-count"
_KEEP_S: Final = 60.0  # longer than the longest pause of an SDK between tries
_MOST: Final = 256

_Key: TypeAlias = tuple["weakref.ref[Any]", bytes]


class RetryGuard:
    """Remembers, for a minute, requests that must not be repeated. Safe for concurrent use.

    Args:
        monotonic: Seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failed: OrderedDict[_Key, tuple[float, ConfideError]] = OrderedDict()

    def remember(self, path: str, body: bytes, error: ConfideError) -> None:
        """Note that this request failed, unless sending it again is harmless."""
        if nothing_was_sent(error) or isinstance(error, KeyConfigError):
            return
        key, now = _key(path, body), self._monotonic()
        with self._lock:
            self._failed.pop(key, None)  # the order of the table is the order of expiry
            self._failed[key] = (now + _KEEP_S, bare(error))
            while len(self._failed) > _MOST or next(iter(self._failed.values()))[0] <= now:
                self._failed.popitem(last=False)

    def refuse_repetition(self, path: str, body: bytes, retry_count: str | None) -> None:
        """Let a request pass, or raise the error of its first try.

        Args:
            path: Path and query.
            body: The request's body.
            retry_count: Value of `x-stainless-retry-count`; None or "0" is a first try.

        Raises:
            ConfideError: As before; nothing is sent.
        """
        if not self._failed:
            return
        key = _key(path, body)
        with self._lock:
            if retry_count in (None, "0"):
                self._failed.pop(key, None)  # the call that failed has ended
                return
            until, error = self._failed.get(key, (0.0, None))
        if error is not None and self._monotonic() < until:
            raise bare(error)


def _key(path: str, body: bytes) -> _Key:
    try:
        caller: object = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        caller = None
    if caller is None:
        caller = threading.current_thread()
    # Weak: neither ids nor thread numbers, which are given again, nor the caller's memory.
    return weakref.ref(caller), hashlib.sha256(path.encode() + b"\0" + body).digest()
