"""Write what happened as JSON lines that have no room for content.

    from confide.telemetry.logs import event
    event("relayed", request_id=request_id, bytes_up=4096, outcome="complete", duration_ms=2310)

One event is one line: `{"ts": ..., "level": ..., "event": ..., <fields>}`. Two rules keep
prompts, answers and keys out, so that a careless call is harmless:

* the field's name is in `FIELDS`; any other field is dropped and counted;
* the value is a number, a boolean, None, or a short word: at most 128 printable ASCII
  characters without a space, and not shaped like an API key. Any other value is replaced by
  `REFUSED` and counted. Sentences, JSON and base64 of any length worth stealing do not pass.

Records of other libraries (through the standard `logging` module) are reduced to the
logger's name, the place in the code and the exception's class: their messages may quote
what a peer sent. Nothing is written before `configure` is called.

A process that writes a line per request can ask for batches: lines below `warning` then wait up
to 50 ms and are written together by a thread. `flush` and the end of the process write what
waits; a warning or an error is written at once, with everything before it.

Source: docs/security/metadata.md.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

__all__ = ["FIELDS", "REFUSED", "configure", "dropped_total", "enabled", "event", "flush"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]


class LineStream(Protocol):
    """Where lines go: a text file, or anything with these two."""

    def write(self, text: str, /) -> object:
        """Take one line with its line feed."""

    def flush(self) -> object:
        """Hold nothing back."""


#: Every field name a log line may carry besides `ts`, `level` and `event`.
FIELDS: Final[frozenset[str]] = frozenset(
    {
        # which process, where
        "component", "version", "pid", "host", "port", "path_class", "route", "signal", "home",
        # which request, for whom: identifiers the gateway gave out itself
        "request_id", "key_id", "domain", "grant_id", "operation", "usage_policy",
        # how much, how long
        "bytes_up", "bytes_down", "frames_up", "frames_down", "count", "total", "pending",
        "duration_ms", "first_byte_ms", "tick_ms", "attempt", "attempts", "retry_after_s",
        "prompt_tokens", "completion_tokens", "precision", "streamed",
        # how it ended
        "status", "code", "outcome", "reason", "error", "step", "limit",
        # which enclave, key, document, statement
        "enclave", "replica", "replicas", "healthy", "boot_id", "key_config_id",
        "document_sha256", "manifest_sha256", "config_sha256", "policy_sha256",
        "not_before", "not_after", "expires_at", "platform", "simulated", "claim", "kind",
        "factor", "enforced", "owner",
        "seq", "through",
        # which backend
        "backend", "backends", "model_class", "models", "state", "engine",
        # the ledger and its file
        "rows", "revision", "file", "dropped",
        # records of other libraries
        "logger", "where",
    }
)  # fmt: skip

#: Stands where a value was not a number or a short word.
REFUSED: Final = "<refused>"

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_WORD: Final = re.compile(r"[\x21-\x7e]{0,128}", re.ASCII)
# Our own keys, bearer tokens and the `sk-` keys of providers, wherever they stand in the word.
_SECRET: Final = re.compile(r"ck_[0-9A-Za-z]{16}|sk-[0-9A-Za-z_-]{12}|eyJ[0-9A-Za-z_-]{12}")


_BATCH_S: Final = 0.05
_MAX_WAITING: Final = 1000  # lines; then whoever brings the next one writes them all
_MAX_KNOWN: Final = 1024
_ID_LENGTH: Final = 32


class _Sink:
    """Where lines go. One per process; silent until configured."""

    def __init__(self) -> None:
        self.stream: LineStream | None = None
        self.threshold = 100
        self.dropped = 0
        self.lock = threading.Lock()  # guards `waiting` and `dropped`; never held while writing
        self.writing = threading.Lock()  # held while writing, so that lines stay in order
        self.now: Callable[[], float] | None = None
        self.batched = False
        self.waiting: list[str] = []
        self.due = threading.Event()
        self.thread: threading.Thread | None = None

    def put(self, line: str, *, urgent: bool) -> None:
        """Write a line, now or with the next batch."""
        with self.lock:
            self.waiting.append(line)
            count = len(self.waiting)
        if not self.batched or urgent or count >= _MAX_WAITING:
            self.flush()
        elif count == 1:
            self.due.set()

    def flush(self) -> None:
        """Write every line that waits."""
        with self.writing:
            with self.lock:
                lines, self.waiting = self.waiting, []
            if not lines or self.stream is None:
                return
            try:
                self.stream.write("".join(lines))
                self.stream.flush()
            except (OSError, ValueError):  # closed pipe, full disk, closed file
                with self.lock:
                    self.dropped += len(lines)

    def batch(self) -> None:
        """Write together from now on."""
        self.batched = True
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name="log", daemon=True)
            self.thread.start()
            atexit.register(self.flush)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self.due.wait()
            self.due.clear()
            pause.wait(_BATCH_S)
            self.flush()


_sink = _Sink()
_known: dict[str, str] = {}  # words that were found harmless, as JSON


def configure(
    level: Level = "info",
    stream: LineStream | None = None,
    *,
    now: Callable[[], float] = time.time,  # noqa: TID251  a line's own timestamp decides nothing
    batched: bool = False,
) -> None:
    """Start writing events, and reduce other libraries' records to the same form.

    Call it once, in a composition root or a command. Calling it again replaces the level and
    the stream.

    Args:
        level: The lowest level to write.
        stream: Where lines go. None silences everything again.
        now: Unix time in seconds, for the `ts` field.
        batched: Whether lines below `warning` may wait up to 50 ms to be written together.

    Raises:
        ValueError: The level is not one of debug, info, warning, error.
    """
    if level not in _LEVELS:
        raise ValueError(f"level must be one of {', '.join(_LEVELS)}, not {level!r}")
    _sink.flush()
    _sink.stream = stream
    _sink.now = now
    _sink.batched = False
    if batched:
        _sink.batch()
    _sink.threshold = _LEVELS[level] if stream is not None else 100
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _LibraryHandler)]:
        root.removeHandler(handler)
    if stream is not None:
        root.addHandler(_LibraryHandler(level=max(_LEVELS[level], logging.WARNING)))


def enabled(level: Level) -> bool:
    """Whether an event of this level would be written; lets hot paths skip building fields."""
    return _LEVELS[level] >= _sink.threshold


def dropped_total() -> int:
    """How many fields or values were refused since the process started."""
    return _sink.dropped


def event(name: str, /, *, level: Level = "info", **fields: object) -> None:
    """Write one event, or nothing if its level is below the configured one.

    Never raises because of a field: a refused field is counted, a stream that is gone (a
    closed pipe) is given up on.

    Args:
        name: What happened, as one short word such as "relayed" or "enclave-ejected".
        level: debug, info, warning or error.
        fields: Named values; see `FIELDS`.
    """
    if _LEVELS[level] < _sink.threshold:
        return
    now = _sink.now
    if _sink.stream is None or now is None:
        return
    parts = [f'{{"ts":{round(now(), 3)},"level":"{level}","event":{_value(name)}']
    for key, value in fields.items():
        if key in FIELDS:
            parts.append(f',"{key}":{_value(value)}')
        else:
            _count_dropped()
    parts.append("}\n")
    _sink.put("".join(parts), urgent=_LEVELS[level] >= _LEVELS["warning"])


def flush() -> None:
    """Write every line that waits for its batch."""
    _sink.flush()


def _value(value: object) -> str:
    """Return the value as JSON if it cannot be content, `REFUSED` otherwise."""
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return _known.get(value) or _word(value)
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        finite = value == value and abs(value) != float("inf")
        return json.dumps(round(value, 6) if finite else None)
    return _word(str(value)) if isinstance(value, str) else _refused()


def _word(value: str) -> str:
    if len(value) == _ID_LENGTH and value.isalnum() and value.isascii() and "eyJ" not in value:
        return f'"{value}"'  # an id; there are too many to remember
    if not _WORD.fullmatch(value) or _SECRET.search(value):
        return _refused()
    text = json.dumps(value)
    if len(_known) < _MAX_KNOWN:
        _known[value] = text
    return text


def _refused() -> str:
    _count_dropped()
    return json.dumps(REFUSED)


def _count_dropped() -> None:
    with _sink.lock:
        _sink.dropped += 1


class _LibraryHandler(logging.Handler):
    """Turns a record of the standard `logging` module into one event without its message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write logger, place and exception class; the message is left out."""
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        raised = record.exc_info[0] if record.exc_info else None
        event(
            "library",
            level=level,
            logger=record.name,
            where=f"{record.module}:{record.lineno}",
            error=raised.__name__ if raised is not None else None,
        )
