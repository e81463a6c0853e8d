"""The page of what must be refused names tests and recorded cases that exist, and all of them."""

import ast
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "contributing" / "negative-tests.md").read_text()
MANIFEST = json.loads((ROOT / "tests/vectors/attestation/manifest.json").read_text())
LINES = [line for line in PAGE.splitlines() if line.startswith("| ")][2:]


def functions(path):
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_line_names_a_test_a_recorded_case_or_a_command():
    assert len(LINES) > 35
    for line in LINES:
        assert re.search(r"`(unit|interop)/[\w/]+\.py::test_\w+`|recorded `|`python tools/", line)


def test_every_named_test_exists():
    named = re.findall(r"`((?:unit|interop)/[\w/]+\.py)::(test_\w+)`", PAGE)
    assert [(path, name) for path, name in named if name not in functions(path)] == []


def test_every_named_case_is_recorded_and_refused():
    cases = {case["id"]: case for case in MANIFEST["cases"]}
    for name in re.findall(r"recorded `([\w-]+)`", PAGE):
        assert cases[name].get("error"), name
