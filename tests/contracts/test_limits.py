"""Limits of size, and words that do not belong in a repository."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 500
LONGEST_FUNCTION = 60


def tracked(*patterns):
    """Files of the repository; outside a checkout (a source archive), all files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        names = [path for pattern in patterns or ["*"] for path in ROOT.rglob(Path(pattern).name)]
    return sorted(path for path in names if path.is_file())


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def lines_with(pattern, *files):
    """List `path:line` of every match in text files."""
    found = []
    for path in tracked(*files):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    return found


def test_no_module_is_longer_than_500_lines():
    lengths = {path: len(path.read_text().splitlines()) for path in tracked("src/*.py")}
    assert {p.relative_to(ROOT): n for p, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_longer_than_60_lines():
    found = [
        f"{path.relative_to(ROOT)}:{line} {name} {length}"
        for path in tracked("src/*.py")
        for name, line, length in functions(path)
        if length > LONGEST_FUNCTION
    ]
    assert found == []


def test_no_folder_is_deeper_than_four():
    package = ROOT / "src" / "confide"
    deep = [path for path in tracked("src/*.py") if len(path.relative_to(package).parts) > 5]
    assert deep == []


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "misc", "manager"])
def test_no_module_is_named_after_nothing(word):
    assert [path for path in tracked("src/*.py") if word in path.stem.split("_")] == []


def test_nothing_is_left_unfinished():
    pattern = r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + "Error"
    assert lines_with(pattern, "src/*.py", "tools/*.py", "tests/*.py") == []


def is_broad(handler):
    broad = handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")
    passed_on = any(isinstance(node, ast.Raise) and node.exc is None for node in handler.body)
    return broad and not passed_on


def test_broad_excepts_say_why():
    """Process top level, CLI top level and health probes may; each marks itself for ruff."""
    unexplained = []
    for path in tracked("src/*.py"):
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ExceptHandler) and is_broad(node):
                _, _, reason = lines[node.lineno - 1].partition("noqa: BLE001")
                if len(reason.strip(" -")) < 10:
                    unexplained.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert unexplained == []


def test_no_registry_host_is_named():
    hosts = ["registry.npmjs" + ".org", "pypi" + ".org", "files.pythonhosted" + ".org"]
    hosts += ["deb.debian" + ".org", "crates" + ".io", "proxy.golang" + ".org"]
    pattern = "|".join(re.escape(host) for host in hosts)
    assert lines_with(pattern) == []


def test_no_path_of_a_developers_machine_is_named():
    others = ["/" + "home/(?!ada/)", "/" + "Users/", "/" + "root/"]  # ada is in the examples
    pattern = "|".join([re.escape(f"{ROOT}/"), *others])
    assert lines_with(pattern) == []
