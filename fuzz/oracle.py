"""What counts as a failure of a parser, whoever made the input."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confide.errors import AttestationError

__all__ = ["MAX_SECONDS", "Finding", "Target", "judge"]

MAX_SECONDS = 0.1
"""Longest that one call may take, in seconds of processor time."""
_AGAIN = 3


@dataclass(frozen=True)
class Target:
    """One parser and inputs that it reads to the end.

    Attributes:
        name: Unique, such as "snp-report".
        call: Reads untrusted bytes; raises one of `refusals`, or returns.
        seeds: Well-formed inputs. The first one is accepted, or refused with `accepts`.
        covers: Functions and classes of `confide` that it reaches, as "module:name".
        refusals: What may escape.
        accepts: Code of the refusal of the first seed where nothing genuine can be stored,
            such as "binding.report_data"; empty if it is accepted.
    """

    name: str
    call: Callable[[bytes], object] = field(repr=False)
    seeds: tuple[bytes, ...] = field(repr=False)
    covers: tuple[str, ...]
    refusals: tuple[type[Exception], ...] = (AttestationError,)
    accepts: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Finding:
    """One input that a parser did not survive.

    Attributes:
        target: Name of the target.
        raw: The input.
        what: Exception with its place, or the time taken.
        place: The same for inputs that fail in the same way.
    """

    target: str
    raw: bytes = field(repr=False)
    what: str
    place: str


def judge(target: Target, raw: bytes) -> Finding | None:
    """Run one input once; again, alone, if it was slow.

    Processor time is measured, so that other programs of the machine do not count; a slow
    input is measured three more times, because the first call may have imported something.
    """
    took, finding = _run(target, raw)
    if finding is None and took > MAX_SECONDS:
        took = min(_run(target, raw)[0] for _ in range(_AGAIN))
        if took > MAX_SECONDS:
            finding = Finding(target.name, raw, f"took {took * 1000:.0f} ms", "slow")
    return finding


def _run(target: Target, raw: bytes) -> tuple[float, Finding | None]:
    start = time.process_time()
    try:
        target.call(raw)
    except target.refusals:
        pass
    except Exception as error:
        return 0.0, Finding(target.name, raw, f"{error!r:.300} at {_place(error)}", _place(error))
    return time.process_time() - start, None


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    place = "?"
    while trace is not None:
        name = Path(trace.tb_frame.f_code.co_filename)
        if "confide" in name.parts:
            place = f"{name.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} {place}"
