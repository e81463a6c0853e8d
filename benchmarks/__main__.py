"""Run benchmarks: `python -m benchmarks [NAME ...] [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import json

from benchmarks.rig import RESULTS

NAMES = (
    "sealing",
    "padding",
    "relay",
    "latency",
    "dialects",
    "memory",
    "startup",
    "streams",
    "attestation",
)


def summarise() -> None:
    """Write every committed result as one page."""
    lines = ["# Results", "", "Written by `python -m benchmarks` from the files beside it.", ""]
    for name in NAMES:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        box = found["machine"]
        lines += [
            f"## {name}",
            "",
            f"`{found['command']}`, {found['rounds']} round(s), medians. {box['cpu']}, "
            f"{box['cores']} cores, Python {box['python']}, load {box['load_1min_at_start']} "
            "at the start.",
            "",
            "| figure | value | unit | target | |",
            "| --- | ---: | --- | --- | --- |",
        ]
        for figure in found["figures"]:
            sign = "<=" if figure["better"] == "lower" else ">="
            target = "" if figure["target"] is None else f"{sign} {figure['target']:,g}"
            met = {True: "met", False: "**missed**", None: ""}[figure["met"]]
            value = (
                f"{figure['value']:,.4g}" if figure["value"] < 1e4 else f"{figure['value']:,.0f}"
            )
            lines.append(f"| {figure['name']} | {value} | {figure['unit']} | {target} | {met} |")
        lines += ["", *(f"- {note}" for note in found["notes"]), ""]
    (RESULTS / "summary.md").write_text("\n".join(lines).rstrip("\n") + "\n")


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
    if not chosen.quick:
        summarise()
    print(f"\n{missed} target(s) missed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
