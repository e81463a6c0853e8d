"""Make API keys, show them once, recognise them without keeping them.

A key is `ck_`, 43 characters for 256 random bits and 6 for a checksum (CRC-32), all in base
62. The prefix lets scanners find a leaked key; the checksum lets a client or this gateway
tell a mistyped key from an unknown one without a look-up.

Only HMAC-SHA256(pepper, key) is stored, where the pepper is 32 random bytes in a file
beside the database. A slow password hash would cost 100 ms per request and buy nothing: there
is no dictionary of 256-bit random keys. The pepper makes a stolen database useless for
recognising a key found elsewhere.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final, NoReturn
from zlib import crc32

from confide.identity.records import DEFAULT_DOMAIN, ApiKeyRecord

__all__ = ["KEY_LENGTH", "PEPPER_LENGTH", "PREFIX", "ClearKey", "digest", "mint", "well_formed"]

PREFIX: Final = "ck_"
KEY_LENGTH: Final = 52  # 3 + 43 + 6 characters
PEPPER_LENGTH: Final = 32  # bytes

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_DIGITS: Final = 43  # 62**43 > 2**256
_CHECK_DIGITS: Final = 6  # 62**6 > 2**32
_SHAPE: Final = re.compile(rb"ck_[0-9A-Za-z]{49}", re.ASCII)
_LABEL: Final = b"confide/api-key/v1\x00"
_HIDDEN: Final = "ClearKey(<52 characters>)"


class ClearKey:
    """The key itself. Shown once; does not print, pickle or compare by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the 52 characters, to hand to the person who asked for the key."""
        return self._text

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("an API key is not pickled")


def mint(
    pepper: bytes,
    *,
    now: float,
    domain: str = DEFAULT_DOMAIN,
    label: str = "",
    expires_at: int | None = None,
    requests_per_minute: int | None = None,
    burst: int | None = None,
    max_streams: int | None = None,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[ClearKey, ApiKeyRecord]:
    """Make a new key.

    Args:
        pepper: 32 bytes, the server's.
        now: Unix seconds.
        domain: Id of the domain it belongs to.
        label: A note for the operator; not shown to the caller.
        expires_at: Unix seconds from which it is refused. None: never.
        requests_per_minute: Own rate instead of the gateway's default.
        burst: Own burst instead of the default.
        max_streams: Own number of answers in flight instead of the default.
        random: Source of random bytes.

    Returns:
        The key, which nothing keeps, and the record to store.

    Raises:
        ConfigError: A limit below one or an expiry in the past.
        ValueError: The pepper is not 32 bytes.
    """
    body = _base62(int.from_bytes(random(32), "big"), _BODY_DIGITS)
    text = PREFIX + body + _base62(crc32(body.encode()), _CHECK_DIGITS)
    record = ApiKeyRecord(
        id="key_" + random(8).hex(),
        domain=domain,
        digest=digest(pepper, text.encode()),
        tail=text[-4:],
        label=label,
        created_at=int(now),
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        burst=burst,
        max_streams=max_streams,
    )
    return ClearKey(text), record


def digest(pepper: bytes, key: bytes) -> bytes:
    """Compute what is stored and looked up instead of the key.

    Args:
        pepper: 32 bytes.
        key: The key as the caller sent it, of any length.

    Returns:
        32 bytes.

    Raises:
        ValueError: The pepper is not 32 bytes.
    """
    if len(pepper) != PEPPER_LENGTH:
        raise ValueError(f"the pepper must be {PEPPER_LENGTH} bytes, not {len(pepper)}")
    return hmac.digest(pepper, _LABEL + key, "sha256")


def well_formed(key: bytes) -> bool:
    """Whether this could be a key: prefix, length, alphabet and checksum. Says nothing more."""
    if not _SHAPE.fullmatch(key):
        return False
    body, check = key[len(PREFIX) : -_CHECK_DIGITS], key[-_CHECK_DIGITS:]
    return _base62(crc32(body), _CHECK_DIGITS).encode() == check


def _base62(number: int, digits: int) -> str:
    out = []
    for _ in range(digits):
        number, remainder = divmod(number, 62)
        out.append(_ALPHABET[remainder])
    return "".join(reversed(out))
