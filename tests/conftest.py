"""Fixtures every test folder may use."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs
import pytest
from hypothesis import settings
from tests.stacks import stack, start_stack

__all__ = ["node_modules", "stack", "start_stack"]

# Programs installed with the tests (node and npm come as wheels) are found first.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

# Machines that run tests are busy; time limits belong to pytest-timeout.
settings.register_profile("confide", deadline=None)
settings.load_profile("confide")

NODE = Path(__file__).parent / "interop" / "node"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The installed npm packages of tests/interop/node, in a cache outside the source tree."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: pip install -e '.[dev]'", pytrace=False)
    lock = (NODE / "package-lock.json").read_bytes()
    cache = Path(platformdirs.user_cache_dir("confide-tests"))
    installed = cache / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (installed / "node_modules").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="node-", dir=cache))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(NODE / name, fresh)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts"],
            cwd=fresh,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            shutil.rmtree(fresh)
            pytest.fail(f"npm ci failed:\n{done.stderr}", pytrace=False)
        try:
            os.rename(fresh, installed)  # whole or not at all, also with two sessions
        except OSError:
            shutil.rmtree(fresh)
    return installed / "node_modules"
