"""Start and stop the daemon many times and look for what is left: `python -m benchmarks.soak`.

    python -m benchmarks.soak --cycles 1000

Each cycle starts the production proxy in the background, waits until it answers, stops it
and then looks: no process, no listening port, no PID file, no temporary file, and in the data
directory only what was there after the first cycle. Ends with 1 at the first leftover.
The gateway is not there, so no request is made; what is tried is the life of the process.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.policies import example_policy

from confide.daemon import Launch, start, stop
from confide.local.readiness import free_port


@dataclass
class Soak:
    """What happened.

    `leftovers` names the first thing that was left behind, if any.
    """

    cycles: int = 0
    start_s: list[float] = field(default_factory=list)
    stop_s: list[float] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def soak(folder: Path, *, cycles: int, within_s: float | None = None) -> Soak:
    """Run cycles in an empty folder, at most `within_s` seconds long."""
    done = Soak()
    began = time.monotonic()
    launch, port = launch_in(folder)
    others = _children()  # of whoever called this
    expected = None
    while done.cycles < cycles and not done.leftovers:
        if within_s is not None and time.monotonic() - began > within_s:
            break
        at = time.monotonic()
        running = start(launch)
        started = time.monotonic()
        stopped = stop(launch.pid_file)
        done.start_s.append(started - at)
        done.stop_s.append(time.monotonic() - started)
        done.cycles += 1
        if stopped.outcome != "stopped":
            done.leftovers.append(f"stopping ended as {stopped.outcome}")
        found = set(_files(folder))
        expected = expected or found
        done.leftovers += [f"file {name}" for name in sorted(found - expected)]
        done.leftovers += _leftovers(running.pid, port, launch.pid_file)
        done.leftovers += [f"child {child}" for child in sorted(_children() - others)]
    return done


def launch_in(folder: Path) -> tuple[Launch, int]:
    """A production proxy with everything it writes in one folder, and its port."""
    port = free_port()
    home, scratch = folder / "home", folder / "tmp"
    scratch.mkdir()
    pid_file, log = home / "proxy.pid", home / "logs" / "proxy.log"
    words = ["--gateway", f"http://127.0.0.1:{free_port()}", "--port", str(port)]
    words += ["--policy", str(example_policy(folder)), "--log-level", "error"]
    words += ["--pid-file", str(pid_file), "--log-file", str(log)]
    names = {k: v for k, v in os.environ.items() if not k.startswith("CONFIDE_")}
    environment = {**names, "CONFIDE_HOME": str(home), "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "confide", "proxy", "run", *words]
    return Launch(command, pid_file, log, environment), port


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder))


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _leftovers(pid: int, port: int, pid_file: Path) -> Iterator[str]:
    if psutil.pid_exists(pid):
        yield f"process {pid}"
    if pid_file.exists():
        yield f"PID file {pid_file}"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            yield f"port {port}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--within", type=float, metavar="S", help="stop after so many seconds")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="confide-soak-") as folder:
        done = soak(Path(folder), cycles=chosen.cycles, within_s=chosen.within)
    for name, seconds in (("start", done.start_s), ("stop", done.stop_s)):
        last = sorted(seconds)[-1]
        print(f"{name:<6} median {statistics.median(seconds):.3f} s, longest {last:.3f} s")
    print(f"{done.cycles} cycles; left behind: {'; '.join(done.leftovers) or 'nothing'}")
    return 1 if done.leftovers else 0


if __name__ == "__main__":
    raise SystemExit(main())
