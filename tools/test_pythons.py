"""Run the attestation tests with warnings as errors on every Python that is installed here.

    python tools/test_pythons.py            # python3.11, 3.12 and 3.13, where they are found
    python tools/test_pythons.py PYTHON ... # these interpreters

For each one: a fresh environment with the newest versions of the base dependencies (above
all of `cryptography`, whose deprecations break AMD's certificates first), of the few extras
that verifying uses, and of pytest and hypothesis; then `tests/unit/attest` and the recorded
vectors, both under `-W error`. Not part of `make test`: it
needs the interpreters and an index of packages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
INSTALLED = (
    ".[rim,measure,nvidia]",
    "pytest",
    "pytest-asyncio",
    "pytest-randomly",
    "pytest-timeout",
    "hypothesis",
)
ATTEST = "tests/unit/attest"
PROFILE = ("--hypothesis-profile", "ci")  # no deadline: other programs of the machine do not count
# The attestation tests need no fixture of the whole stack, and the stack would need its extras.
CHECKS = (
    ("-W", "error", "-m", "pytest", "-q", "-W", "error", "--confcutdir", ATTEST, *PROFILE, ATTEST),
    ("-W", "error", "tools/check_vectors.py", "tests/vectors/attestation/manifest.json"),
)
_SHOWN_LINES = 15


def found() -> Iterator[str]:
    """Yield an interpreter of each version, as the PATH or pyenv names it."""
    for version in VERSIONS:
        candidates = [shutil.which(f"python{version}"), *_of_pyenv(version)]
        if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
            candidates.insert(0, sys.executable)
        usable = [one for one in candidates if one and _is(one, version)]
        if usable:
            yield usable[0]
        else:
            print(f"Python {version}: not found; give it as an argument", flush=True)


def _of_pyenv(version: str) -> list[str]:
    pyenv = shutil.which("pyenv")
    if pyenv is None:
        return []
    said = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
    return [
        str(one)
        for one in sorted(Path(said.stdout.strip()).glob(f"versions/{version}.*/bin/python"))
    ]


def _is(python: str, version: str) -> bool:
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return said.returncode == 0 and said.stdout.startswith(f"Python {version}.")


def check(python: str) -> bool:
    """Make an environment with one interpreter, run the checks in it and say how they ended."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([python, "-m", "venv", place], check=True)
        inside = str(Path(place, "bin", "python"))
        install = [inside, "-m", "pip", "install", "--quiet", "--upgrade", *INSTALLED]
        if not _run("install", install):
            return False
        versions = subprocess.run(
            [
                inside,
                "-c",
                "import platform as p, cryptography as c; "
                "print(p.python_version(), 'with cryptography', c.__version__)",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"Python {versions.stdout.strip()}", flush=True)
        return all([_run(" ".join(words[2:]), [inside, *words]) for words in CHECKS])


def _run(name: str, command: list[str]) -> bool:
    start = time.monotonic()
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False
    )
    lines = [line for line in ended.stdout.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    verdict = "FAILED" if ended.returncode else "ok"
    print(f"  {name}: {verdict}, {last} ({time.monotonic() - start:.0f} s)", flush=True)
    if ended.returncode:
        print("\n".join([*lines, *ended.stderr.splitlines()][-_SHOWN_LINES:]), flush=True)
    return not ended.returncode


def main(given: list[str]) -> int:
    """Check the given interpreters, or those found; 1 if one failed, 2 if there is none."""
    pythons = given or list(found())
    if not pythons:
        return 2
    return int(not all([check(python) for python in pythons]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
