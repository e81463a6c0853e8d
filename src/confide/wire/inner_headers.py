"""Which headers travel inside the seal, and which never do.

A header that nobody here knows is a parameter like any other: it is sealed, opened, and
handed to the engine, byte for byte; so is a header of its answer on the way back. What is
listed here stays where it is: credentials, what names a person, a program or a machine, what
is about one connection, and what would steer a shared engine past the caller's own request.

The gateway sees none of it. The lists are about the engine, which may be another process or
another company. Both ends apply them: a client seals only what travels, an enclave hands on
only what travels, whoever sealed it.

Source: spec/protocol.md P-018; docs/explanation/decisions/0011-inner-headers.md; RFC 9110
sections 5.5 and 7.6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from confide.errors import InvalidRequest
from confide.wire.header_lists import (
    ANSWER_NAMES,
    ANSWER_PREFIXES,
    REQUEST_NAMES,
    REQUEST_PREFIXES,
    REQUEST_SUFFIXES,
)
from confide.wire.metadata import INNER_REQUEST_HEADERS

__all__ = [
    "MAX_HEADERS",
    "MAX_HEADER_BYTES",
    "Fields",
    "answer_fields",
    "answer_travels",
    "check_fields",
    "forwarded_fields",
    "request_fields",
    "travels",
]

Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]

MAX_HEADERS: Final = 64
"""Header lines of the caller inside one seal."""
MAX_HEADER_BYTES: Final = 8 * 1024
"""Bytes of their names and values together; engines commonly accept this much, not more."""

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# The enclave asks its engine for the one kind of answer that it can read.
_ENCLAVES_OWN: Final = frozenset({b"content-type", b"accept"})


def travels(name: str) -> bool:
    """Whether a request's header may be inside the seal, and reach an engine.

    Args:
        name: In lower case.
    """
    # Servers of the CGI family read both spellings as one name.
    spelt = name.replace("_", "-")
    return not (
        spelt in REQUEST_NAMES
        or spelt.startswith(REQUEST_PREFIXES)
        or spelt.endswith(REQUEST_SUFFIXES)
        or (spelt.startswith("content-") and name != "content-type")
    )


def answer_travels(name: str) -> bool:
    """Whether a header of an engine's answer may go back inside the seal.

    Args:
        name: In lower case.
    """
    spelt = name.replace("_", "-")
    return spelt not in ANSWER_NAMES and not spelt.startswith(ANSWER_PREFIXES)


def request_fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Choose what of a caller's headers is sealed, in their order, repeated ones included.

    Args:
        headers: As the caller's program wrote them.

    Raises:
        InvalidRequest: What is left is over a bound (431) or is no header (400).
    """
    given = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    hops = _nominated(given)
    kept = tuple(
        (name, value)
        for name, value in given
        if name not in hops and travels(name.decode("latin-1"))
    )
    check_fields(kept)
    return kept


def forwarded_fields(fields: Fields) -> Fields:
    """Choose what of an opened request's headers an engine gets.

    Args:
        fields: All headers inside the seal, whoever wrote them.

    Raises:
        InvalidRequest: The caller's are over a bound (431) or no headers (400).
    """
    theirs = tuple((n, v) for n, v in fields if n.decode("latin-1") not in INNER_REQUEST_HEADERS)
    check_fields(theirs)
    hops = _nominated(theirs)
    return tuple(
        (name, value)
        for name, value in theirs
        if name not in _ENCLAVES_OWN and name not in hops and travels(name.decode("latin-1"))
    )


def answer_fields(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Choose what of an engine's headers the caller gets, as much as the bounds allow.

    An answer is worth more than its headers: those over a bound, and all after them, are
    left out, as is what is no header.

    Args:
        headers: As the engine wrote them.
    """
    given = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    hops = _nominated(given)
    kept: list[tuple[bytes, bytes]] = []
    length = 0
    for name, value in given:
        if name in hops or not answer_travels(name.decode("latin-1")) or _fault(name, value):
            continue
        length += len(name) + len(value)
        if len(kept) == MAX_HEADERS or length > MAX_HEADER_BYTES:
            break
        kept.append((name, value))
    return tuple(kept)


def check_fields(fields: Fields) -> None:
    """Refuse headers that are too many, too long or none at all.

    Raises:
        InvalidRequest: 431, code "headers-too-large"; 400, code "header-malformed".
    """
    length = sum(len(name) + len(value) for name, value in fields)
    if len(fields) > MAX_HEADERS or length > MAX_HEADER_BYTES:
        raise InvalidRequest(
            f"the request has {len(fields)} headers of {length} bytes; "
            f"{MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes can be sealed",
            status=431,
            code="headers-too-large",
            hint="send large values in the body",
        )
    for name, value in fields:
        if fault := _fault(name, value):
            raise InvalidRequest(
                f"a header {fault}",
                code="header-malformed",
                hint="names are tokens; values are one line of UTF-8 without control characters",
            )


def _fault(name: bytes, value: bytes) -> str:
    if not _NAME.fullmatch(name):
        return "has a name that is not a lower-case token"
    if _CONTROL.search(value):
        return "has a value with a line break or another control character"
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return "has a value that is not UTF-8"
    return ""


def _nominated(fields: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Names that a `connection` header says are for the next hop only."""
    return frozenset(
        one.strip().lower()
        for name, value in fields
        if name == b"connection"
        for one in value.split(b",")
    )
