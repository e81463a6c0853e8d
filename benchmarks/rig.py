"""What every benchmark needs: rounds, medians, CPU of a process tree, a result file.

Absolute times depend on the machine and on what else it does; a ratio between two things
measured in the same round much less. So every figure here is paired with a peer or a
limit, measured alternately, and the median over rounds is reported.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RESULTS = Path(__file__).parent / "results"


@dataclass
class Figure:
    """One line of the report.

    `value` is compared with `target` in the sense of `better`; a figure without a target
    is information.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    better: str = "lower"
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


@dataclass
class Report:
    """Figures of one benchmark, written to results/<name>.json."""

    name: str
    command: str
    figures: list[Figure] = field(default_factory=list)
    rounds: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, **further: object) -> None:
        self.figures.append(Figure(name, round(value, 4), unit, **further))  # type: ignore[arg-type]

    def write(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        content = {
            "benchmark": self.name,
            "command": self.command,
            "rounds": self.rounds,
            "machine": machine(),
            "figures": [{**vars(f), "met": f.met} for f in self.figures],
            "notes": self.notes,
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n")

    def show(self) -> None:
        print(f"\n{self.name}  ({self.rounds} rounds, medians)")
        for f in self.figures:
            verdict = {True: "met", False: "MISSED", None: ""}[f.met]
            sign = "<=" if f.better == "lower" else ">="
            target = "" if f.target is None else f"  target {sign} {f.target:g}"
            print(f"  {f.name:<58} {f.value:>12.4g} {f.unit:<14}{target}  {verdict}  {f.note}")
        for note in self.notes:
            print(f"  note: {note}")


def machine() -> dict[str, object]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_1min_at_start": round(os.getloadavg()[0], 2),
    }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far.

    Read from /proc/PID/schedstat (nanoseconds on the CPU, all threads), because the usual
    counters tick in 10 ms.
    """
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    total = 0
    for process in family:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue
    return total / 1e9


def pss_megabytes(pid: int) -> float:
    """Proportional memory of a process and its children, in 10**6 bytes."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family) / 1e6


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def paired(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run every measure once per round, in alternating order."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        names = list(measures) if number % 2 == 0 else list(reversed(measures))
        for name in names:
            found[name].append(measures[name]())
    return found


def ratio(found: dict[str, list[float]], name: str, peer: str) -> float:
    """Median over rounds of the ratio within each round."""
    return median(a / b for a, b in zip(found[name], found[peer], strict=True))


@contextmanager
def process(arguments: list[str], **further: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is ended by pid, whatever happens."""
    child = subprocess.Popen(arguments, **further)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
