"""The documentation builds without a warning and asks no other host for anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    # --quiet would also silence the warnings that --strict counts.
    folder = tmp_path_factory.mktemp("site")
    found = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING="true"),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return folder


def test_every_page_is_built(site):
    pages = [path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")]
    assert [page for page in pages if not (site / page.with_suffix(".html")).exists()] == []


def test_no_page_loads_anything_from_another_host(site):
    pattern = r'<(?:script|link|img|iframe)[^>]+(?:src|href)="?(https?://[^">]+)'
    loaded = {
        url
        for page in site.rglob("*.html")
        for url in re.findall(pattern, page.read_text())
        if "rel=canonical" not in url
    }
    assert loaded == set()
