"""What `make test` runs: the cheap checks first, pytest last.

Stops at the first stage that fails and says which one and how to run it alone. Output is
streamed. pytest runs as the last stage, so its summary is the last thing printed.
Arguments are handed to pytest: ``python tools/test.py -k gateway``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("format", ("ruff", "format", "--check", ".")),
    ("lint", ("ruff", "check", ".")),
    ("types", ("mypy",)),
    ("import contracts", ("lint-imports",)),
    ("generated pages", ("python", "tools/generate_docs.py", "--check")),
    ("tests", ("python", "-m", "pytest", "-m", "not slow")),
)
"""Name and command of each stage. Programs are those beside this interpreter."""


def command(words: tuple[str, ...], extra: list[str]) -> list[str]:
    """Turn the words of a stage into a command for this interpreter's environment."""
    if words[0] == "python":
        arguments = [*words[1:], *(extra if "pytest" in words else ())]
        return [sys.executable, *arguments]
    return [os.fspath(Path(sys.executable).with_name(words[0])), *words[1:]]


def main(extra: list[str]) -> int:
    """Run every stage.

    Args:
        extra: Arguments for pytest.

    Returns:
        The exit status of the first stage that fails, or 0.
    """
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    for name, words in STAGES:
        run = command(words, extra)
        print(f"==> {name}: {shlex.join([words[0], *run[1:]])}", flush=True)
        start = time.monotonic()
        try:
            status = subprocess.run(run, cwd=ROOT, env=environment, check=False).returncode
        except FileNotFoundError:
            print(f"{words[0]} is not installed; run: make test", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        if status != 0:
            if name != "tests":  # pytest has said all there is to say
                print(f"==> {name} failed (exit status {status})", file=sys.stderr)
            return status
        if name != "tests":
            print(f"    {name} passed in {time.monotonic() - start:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
