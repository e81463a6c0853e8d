"""Recompute test vectors and recorded exchanges.

    python tools/check_vectors.py FILE [FILE ...]

Accepts recorded OHTTP exchanges (the format of
`tests/vectors/crypto/interop_transcripts.json`), the other vector files beside it that
the product has code for, and manifests of recorded attestation evidence (the format of
`tests/vectors/attestation/manifest.json`). Every value is computed again from keys and inputs;
nothing is compared with a constant of this program.

Prints one line per case and `N passed, N failed` at the end. Exit code 0: all
passed; 1: a case failed; 2: a file is not of a format known here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confide.errors import ConfideError
from vector_formats import FORMATS, Case, Mismatch, NotImplementedHere

MAX_FILE = 64 * 1024 * 1024


class UnknownFormat(Exception):
    """The file cannot be read, is not JSON or has a format not known here."""


def load(path: Path) -> Any:
    """Read a JSON file of at most 64 MiB.

    Raises:
        UnknownFormat: It cannot be read or is not JSON.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise UnknownFormat(f"{path}: larger than {MAX_FILE} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnknownFormat(f"{path}: {type(error).__name__}, not a readable JSON file") from None


def cases_of(path: Path) -> list[Case]:
    """Find the format of a file and list its cases.

    Raises:
        UnknownFormat: No format recognises it, or it has no case.
    """
    document = load(path)
    for form in FORMATS:
        if form.recognises(document):
            cases = form.cases(document, path.parent)
            if cases:
                return cases
    known = ", ".join(form.name for form in FORMATS)
    raise UnknownFormat(f"{path}: no known vector format (known: {known})")


def run(case: Case) -> tuple[str, str]:
    """Run one case; return "ok", "FAILED" or "skipped", and the reason."""
    try:
        return "ok", case.check() or ""
    except NotImplementedHere as error:
        return "skipped", str(error)
    except Mismatch as error:
        return "FAILED", str(error)
    except ConfideError as error:
        return "FAILED", f"{type(error).__name__}: {error}"
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A case may hold anything; a wrong shape is a failed case, not a crash.
        return "FAILED", f"malformed case ({type(error).__name__})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files named on the command line."""
    parser = argparse.ArgumentParser(description="Recompute test vectors.")
    parser.add_argument("path", nargs="+", type=Path)
    paths: list[Path] = parser.parse_args(arguments).path
    passed = failed = 0
    for path in paths:
        try:
            cases = cases_of(path)
        except UnknownFormat as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for case in cases:
            outcome, reason = run(case)
            passed += outcome == "ok"
            failed += outcome == "FAILED"
            print(f"{outcome:8}{printable(case.name)}" + (f"  ({reason})" if reason else ""))
    print(f"{passed} passed, {failed} failed")
    if not passed and not failed:
        print("error: nothing was checked", file=sys.stderr)
        return 2
    return 1 if failed else 0


def printable(name: str) -> str:
    """Cut a name that came from a file to one printable line."""
    return "".join(c if c.isprintable() else "?" for c in name[:160])


if __name__ == "__main__":
    sys.exit(main())
