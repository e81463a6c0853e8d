"""Run benchmarks: `python -m benchmarks [NAME ...] [--quick]`."""

from __future__ import annotations

import argparse
import importlib

NAMES = ("sealing", "padding", "relay", "latency", "memory", "streams")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; results not written")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {NAMES}")
    missed = 0
    for name in chosen.names or NAMES:
        report = importlib.import_module(f"benchmarks.{name}").run(quick=chosen.quick)
        report.show()
        if not chosen.quick:
            report.write()
        missed += sum(figure.met is False for figure in report.figures)
    print(f"\n{missed} target(s) missed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
