"""Replay an event log: does it explain the four runtime registers of a quote?

A log is unsigned. Folding its digests must give the quoted registers,

    rtmr = SHA-384(rtmr || digest), from 48 zero bytes

and then its digests are genuine. What an entry *says* is genuine only if its digest can
be computed from it; entries of some kinds describe something else that was hashed.

Two formats are read: the CCEL of ACPI, which is a TCG2 log, and the JSON of dstack.

Sources: TCG PC Client Platform Firmware Profile 1.06, section 10 (crypto-agile log); ACPI
6.5, CCEL table, and UEFI 2.10 section 38 (measurement register 1 to 4 is RTMR0 to 3);
dstack, cc-eventlog (digest of an event of its own type).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from confide.attest.strict_json import read_array
from confide.errors import EvidenceError

__all__ = ["MAX_LOG", "LogEntry", "check_log", "read_log", "replay"]

MAX_LOG: Final = 256 * 1024
"""Largest log, in bytes; firmware reserves 64 or 256 KiB."""

_MOST_ENTRIES: Final = 4096
_REGISTERS: Final = 4
_DIGEST: Final = 48
_NO_ACTION: Final = 3
_SHA384: Final = 0x0C
_DIGEST_LENGTHS: Final = {0x04: 20, 0x0B: 32, 0x0C: 48, 0x0D: 64, 0x12: 32}
_SIGNATURE: Final = b"Spec ID Event03\0"
_SHA1_LENGTH: Final = 20
_UNUSED: Final = (b"\xff" * 4, b"\0" * 12)
_DSTACK: Final = 0x08000001


@dataclass(frozen=True)
class LogEntry:
    """One extension of one register.

    Attributes:
        register: 0 to 3.
        kind: Event type.
        digest: 48 bytes; genuine once the log replays.
        name: What dstack calls the event; empty in a CCEL.
        content: What was hashed, if the digest can be computed from it, else None.
    """

    register: int
    kind: int
    digest: bytes = field(repr=False)
    name: str = ""
    content: bytes | None = field(default=None, repr=False)


def check_log(raw: bytes, rtmrs: Sequence[bytes]) -> tuple[LogEntry, ...]:
    """Read a log and refuse it unless it replays to the registers of the quote.

    Args:
        raw: CCEL or JSON, at most 256 KiB, untrusted.
        rtmrs: Four registers of 48 bytes.

    Raises:
        EvidenceError: tdx.eventlog_mismatch, also for a log that cannot be read.
    """
    entries = read_log(raw)
    for register, (found, quoted) in enumerate(zip(replay(entries), rtmrs, strict=True)):
        if not hmac.compare_digest(found, quoted):
            raise _mismatch(f"the event log does not explain RTMR{register}")
    return entries


def replay(entries: Sequence[LogEntry]) -> tuple[bytes, ...]:
    """Fold the digests into four registers of 48 bytes, which start at zero."""
    registers = [bytes(_DIGEST)] * _REGISTERS
    for entry in entries:
        registers[entry.register] = hashlib.sha384(
            registers[entry.register] + entry.digest
        ).digest()
    return tuple(registers)


def read_log(raw: bytes) -> tuple[LogEntry, ...]:
    """Read the entries that extend a register.

    Raises:
        EvidenceError: tdx.eventlog_mismatch: too large, cut off or of another format.
    """
    if len(raw) > MAX_LOG:
        raise _mismatch(f"an event log of {len(raw)} bytes; at most {MAX_LOG}")
    read = _json_entries if raw.lstrip()[:1] == b"[" else _ccel_entries
    entries: list[LogEntry] = []
    for entry in read(raw):
        if len(entries) == _MOST_ENTRIES:
            raise _mismatch(f"more than {_MOST_ENTRIES} entries in the event log")
        entries.append(entry)
    return tuple(entries)


def _mismatch(message: str) -> EvidenceError:
    return EvidenceError(message, code="tdx.eventlog_mismatch")


class _Reader:
    """Takes fields from the front of a log."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, length: int) -> bytes:
        if length > len(self._content) - self._at:
            raise _mismatch("the event log is cut off")
        self._at += length
        return self._content[self._at - length : self._at]

    def integer(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    @property
    def ended(self) -> bool:
        """Whether only the unused rest of the table is left."""
        ahead = self._content[self._at : self._at + 12]
        return not ahead or ahead[:4] == _UNUSED[0] or ahead == _UNUSED[1]


def _ccel_entries(raw: bytes) -> Iterator[LogEntry]:
    reader = _Reader(raw)
    _read_first(reader)
    while not reader.ended:
        index, kind, count = (reader.integer(4) for _ in range(3))
        if not 1 <= count <= len(_DIGEST_LENGTHS):
            raise _mismatch(f"an entry with {count} digests")
        digests = {}
        for _ in range(count):
            algorithm = reader.integer(2)
            if algorithm not in _DIGEST_LENGTHS or algorithm in digests:
                raise _mismatch("an entry with a digest of another kind")
            digests[algorithm] = reader.take(_DIGEST_LENGTHS[algorithm])
        content = reader.take(reader.integer(4))
        if kind == _NO_ACTION:
            continue
        if not 1 <= index <= _REGISTERS or _SHA384 not in digests:
            raise _mismatch(f"an entry without SHA-384, or of register {index}")
        digest = digests[_SHA384]
        genuine = hashlib.sha384(content).digest() == digest
        yield LogEntry(index - 1, kind, digest, content=content if genuine else None)


def _read_first(reader: _Reader) -> None:
    """Skip the first entry, which has the old form and says that the others have not."""
    reader.take(4)
    kind, _ = reader.integer(4), reader.take(_SHA1_LENGTH)
    content = reader.take(reader.integer(4))
    if kind != _NO_ACTION or not content.startswith(_SIGNATURE):
        raise _mismatch("an event log of another format")


def _json_entries(raw: bytes) -> Iterator[LogEntry]:
    try:
        listed = read_array(raw, limit=MAX_LOG)
    except EvidenceError as error:
        raise _mismatch(f"event log: {error}") from None
    for one in listed:
        members = one if isinstance(one, dict) else {}
        register, kind = members.get("imr"), members.get("event_type")
        name = members.get("event", "")
        digest = _unhex(members.get("digest"))
        content = _unhex(members.get("event_payload", ""))
        if (
            type(register) is not int
            or not 0 <= register < _REGISTERS
            or type(kind) is not int
            or not 0 <= kind < 2**32
            or not isinstance(name, str)
            or len(digest) != _DIGEST
        ):
            raise _mismatch("an entry of another form")
        if kind == _NO_ACTION:
            continue
        genuine = digest == _json_digest(kind, name, content)
        if kind == _DSTACK and not genuine:
            raise _mismatch("an event whose digest is not that of its content")
        yield LogEntry(register, kind, digest, name, content if genuine else None)


def _json_digest(kind: int, name: str, content: bytes) -> bytes:
    if kind != _DSTACK:
        return hashlib.sha384(content).digest()
    # A lone surrogate is no text that anybody hashed; it must not end the program either.
    named = name.encode("utf-8", "surrogatepass")
    return hashlib.sha384(kind.to_bytes(4, "little") + b":" + named + b":" + content).digest()


def _unhex(value: object) -> bytes:
    if not isinstance(value, str) or not value.isascii():
        raise _mismatch("an entry of another form")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise _mismatch("an entry of another form") from None
