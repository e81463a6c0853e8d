"""From the start of the proxy's process to its first answer, and its memory then."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.rig import Report, median, pss_megabytes
from benchmarks.soak import launch_in
from confide.daemon import start, stop


def run(*, quick: bool = False) -> Report:
    rounds = 3 if quick else 20
    report = Report("startup", "python -m benchmarks startup", rounds=rounds)
    seconds: list[float] = []
    megabytes: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        launch, _ = launch_in(Path(folder))
        for number in range(rounds + 1):
            began = time.monotonic()
            running = start(launch)
            if number:  # the first one warms the disk cache
                seconds.append(time.monotonic() - began)
                megabytes.append(pss_megabytes(running.pid))
            stop(launch.pid_file)
    report.add("process start to first answer, warm", median(seconds), "s", target=1.0)
    report.add("slowest of the rounds", max(seconds), "s")
    report.add("memory when ready", median(megabytes), "MB PSS", target=80.0)
    return report
