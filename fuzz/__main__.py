"""Fuzz every parser, or the named ones, and say how much was tried.

    python -m fuzz --seconds 600                 # all targets, ten minutes in all
    python -m fuzz --seconds 60 tdx-quote        # one of them
    python -m fuzz --every-cut                   # every first seed, cut at every byte

The first two need the extra `fuzz` (atheris). Exits 1 if a parser fails; the inputs that
made it fail stay in the folder that `--findings` names.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fuzz.mutations import cuts
from fuzz.oracle import Finding, Target, judge
from fuzz.targets import targets

_COVERED = re.compile(r"#\d+\s+(INITED|DONE)\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_GRACE_S = 120


@dataclass(frozen=True)
class Run:
    """What one target's search did.

    Attributes:
        executions: Inputs tried.
        before: Edges covered by the seeds.
        after: Edges covered in the end.
        kept: Inputs that reached something new.
        findings: Confirmed failures.
    """

    executions: int
    before: int
    after: int
    kept: int
    findings: tuple[Finding, ...]


def main() -> int:
    """Run what the arguments ask for."""
    options = _arguments()
    chosen = [targets()[name] for name in options.targets or targets()]
    failed = False
    if options.every_cut:
        return _every_cut(chosen)
    if importlib.util.find_spec("atheris") is None:
        print("error: atheris is missing\nhint: pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    options.findings.mkdir(parents=True, exist_ok=True)
    seconds = max(1, options.seconds // len(chosen))
    print(f"{'target':<24}{'executions':>12}{'edges':>14}{'kept':>7}  findings")
    for target in chosen:
        run = _search(target, seconds, options.number, options.findings)
        edges = f"{run.before} -> {run.after}"
        print(
            f"{target.name:<24}{run.executions:>12}{edges:>14}{run.kept:>7}  {len(run.findings)}",
            flush=True,
        )
        for finding in run.findings:
            print(f"  {finding.what}", flush=True)
        failed = failed or bool(run.findings) or not run.executions
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", choices=[[], *targets()], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=600, help="in all; default 600")
    parser.add_argument("--number", type=int, default=1, help="seed of libFuzzer; default 1")
    parser.add_argument("--every-cut", action="store_true", help="only cut the first seeds")
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="default ./fuzz-findings"
    )
    return parser.parse_args()


def _search(target: Target, seconds: int, number: int, folder: Path) -> Run:
    """Fuzz one target in a process of its own; judge what it wrote down, alone."""
    with tempfile.TemporaryDirectory() as place:
        corpus, suspects = Path(place, "corpus"), Path(place, "suspects")
        corpus.mkdir()
        suspects.mkdir()
        ended = subprocess.run(
            [sys.executable, "-m", "fuzz.worker", target.name, str(seconds), str(number),
             str(corpus), str(suspects)],
            cwd=place,
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + _GRACE_S,
            check=False,
        )  # fmt: skip
        judged = [judge(target, path.read_bytes()) for path in sorted(suspects.iterdir())]
        crashes = [path.read_bytes() for path in Path(place).glob("*-*") if path.is_file()]
    findings = [one for one in judged if one is not None]
    if ended.returncode:
        # libFuzzer ended the process itself: too long or too much memory for one call.
        said = ended.stderr.strip().splitlines()[-1:] or ["no output"]
        findings += [
            Finding(target.name, raw, f"ended with {ended.returncode}: {said[0]:.200}", "libFuzzer")
            for raw in crashes or [b""]
        ]
    for finding in findings:
        name = hashlib.sha256(finding.raw).hexdigest()[:16]
        (folder / f"{target.name}-{name}").write_bytes(finding.raw)
    return _counted(ended.stderr, tuple(findings))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def _counted(said: str, findings: tuple[Finding, ...]) -> Run:
    covered = {kind: (int(cov), int(corp)) for kind, cov, _, corp in _COVERED.findall(said)}
    executed = _EXECUTED.search(said)
    before, _ = covered.get("INITED", (0, 0))
    after, kept = covered.get("DONE", (before, 0))
    return Run(int(executed[1]) if executed else 0, before, after, kept, findings)


def _every_cut(chosen: list[Target]) -> int:
    failed = False
    for target in chosen:
        raw = target.seeds[0]
        found = [one for cut in cuts(raw, most=len(raw)) if (one := judge(target, cut))]
        print(f"{target.name:<24}{len(raw):>8} cuts  {len(found)} findings", flush=True)
        for finding in found[:3]:
            print(f"  {len(finding.raw)} bytes: {finding.what}")
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
