"""The wheel holds what a newcomer needs: the model, the migrations, the types, the licence."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_demo_model_is_in_the_wheel_as_described(wheel):
    described = json.loads(wheel.read("confide/models/demo_tiny/demo-tiny.json"))
    model = wheel.read("confide/models/demo_tiny/demo-tiny.gguf")
    assert hashlib.sha256(model).hexdigest() == described["sha256"]
    assert len(model) < 5_000_000


def test_migrations_types_and_licence_are_in_the_wheel(wheel):
    names = set(wheel.namelist())
    assert "confide/py.typed" in names
    assert {f"confide/proxy/page/{n}" for n in ("index.html", "page.css", "page.js")} <= names
    assert any(name.startswith("confide/gateway/migrations/versions/rev_0001") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_nothing_but_the_package_is_in_the_wheel(wheel):
    for name in wheel.namelist():
        assert name.startswith(("confide/", "confide-")), name
        assert "__pycache__" not in name
