"""What the pages say is what the code does, as far as a machine can tell."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from confide import errors
from confide.cli.main import cli
from confide.enclave.handlers.table import _ROUTES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spec/*.md")])
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\!)\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")

# Programs that a page may tell the reader to run, besides `confide` itself.
PROGRAMS = {
    *(".", "cd", "claude", "cn", "curl", "export", "git", "grep", "llm", "make", "npm"),
    *("open-webui", "pip", "printf", "python", "uvicorn"),
}

# Words of advertising, which a page must not use (style: claims carry a number or a file).
EMPTY_WORDS = [
    "blazing",
    "military-grade",
    "production-ready",
    "robust",
    "seamless",
    "simply",
    "unbreakable",
    "world-class",
]


def blocks(language):
    """List (page and line, text) of every fenced block in one language."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match[2] == language:
                line = text.count("\n", 0, match.start()) + 1
                indent = len(match[1])
                body = "\n".join(row[indent:] for row in match[3].splitlines())
                found.append((f"{page.relative_to(ROOT)}:{line}", body))
    return found


def console_commands():
    """List (place, words) of every line that starts with a dollar sign in console blocks."""
    found = []
    for place, body in blocks("console"):
        joined = body.replace("\\\n", " ")
        for command in re.findall(r"^\$ ((?:[^\n']|'[^']*')*)", joined, re.MULTILINE):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words = words[1:]
            found.append((place, words))
    return found


def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def unknown_word(words):
    """Follow the words of a `confide` command; return the first that does not exist."""
    command, context, rest = cli, click.Context(cli, info_name="confide"), list(words)
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            break
        name = rest.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return name
        command, context = found, click.Context(found, parent=context, info_name=name)
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    options |= {"--help", "-h"}
    end = rest.index("--") if "--" in rest else len(rest)
    given = (word.partition("=")[0] for word in rest[:end] if word.startswith("-"))
    return next((word for word in given if word not in options), None)


def test_generated_pages_are_current():
    found = subprocess.run(
        [sys.executable, "tools/generate_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_error_class_and_code_is_documented():
    page = (ROOT / "docs/reference/error-codes.md").read_text()
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert f"`{name}`" in page
        assert f"`{kind.code}`" in page


def test_every_error_class_is_drawn_in_the_tree_of_its_module():
    for name in errors.__all__:
        assert name in errors.__doc__


def test_error_codes_are_unique_except_where_a_class_narrows_nothing():
    codes = {}
    for name in errors.__all__:
        codes.setdefault(getattr(errors, name).code, []).append(name)
    assert {code: names for code, names in codes.items() if len(names) > 1} == {}


@pytest.mark.parametrize(("place", "source"), blocks("python"), ids=lambda value: value[:40])
def test_python_blocks_compile(place, source):
    compile(source, place, "exec")


@pytest.mark.parametrize(("place", "source"), blocks("python"), ids=lambda value: value[:40])
def test_names_that_python_blocks_import_from_confide_exist(place, source):
    for module, names in re.findall(r"^from (confide[\w.]*) import ([\w, ]+)$", source, re.M):
        loaded = __import__(module, fromlist=["*"])
        for name in names.split(","):
            assert hasattr(loaded, name.strip()), f"{place}: {module}.{name}"


def test_console_blocks_were_found():
    assert len(console_commands()) > 10


@pytest.mark.parametrize(("place", "words"), console_commands(), ids=str)
def test_commands_in_console_blocks_exist(place, words):
    program = words[0].removeprefix(".venv/bin/")
    if program == "confide":
        assert unknown_word(words[1:]) is None, place
    elif program == "confidential-proxy":
        assert unknown_word(["proxy", *words[1:]]) is None, place
    elif program == "confidential-claude":
        pass  # every word is Claude Code's
    elif program == "make":
        assert set(words[1:]) <= make_targets(), place
    elif words[0].startswith(".venv/bin/"):
        assert Path(sys.executable).with_name(program).exists(), place
    else:
        assert program in PROGRAMS, place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    folders = "benchmarks|deploy|docs|models|spec|src|tests|tools"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_every_step_of_one_request_names_modules_that_exist():
    page = (ROOT / "docs/explanation/one-request.md").read_text()
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", page, re.MULTILINE)
    assert len(rows) == 24
    for row in rows:
        for name in re.findall(r"`([\w.]+)`", row):
            path = ROOT / "src/confide" / name.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_advertises(page):
    words = re.findall(r"[\w-]+", page.read_text().lower())
    assert [word for word in EMPTY_WORDS if word in words] == []


def test_every_threat_has_an_attack():
    page = (ROOT / "docs/security/threat-model.md").read_text()
    rows = dict(re.findall(r"^\| (T-\d\d) \|(.*)$", page, re.MULTILINE))
    assert len(rows) > 10
    attacks = "\n".join(path.read_text() for path in ROOT.glob("tests/attacks/*.py"))
    covered = set(re.findall(r"T-\d\d", attacks))
    for first, last in re.findall(r"T-(\d\d) to T-(\d\d)", attacks):
        covered |= {f"T-{n:02}" for n in range(int(first), int(last) + 1)}
    # That a file which a row names exists is checked for every page.
    covered |= {number for number, row in rows.items() if re.search(r"`tests/[\w/]+\.py`", row)}
    assert sorted(rows.keys() - covered) == []


def test_every_test_that_the_claims_name_exists():
    page = (ROOT / "docs/security/claims.md").read_text()
    table = "\n".join(line for line in page.splitlines() if line.startswith("| "))
    folders = "attacks|contracts|e2e|interop|properties|unit"
    named = set(re.findall(rf"`((?:{folders})/[\w/.]*)`", table))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []


def test_every_dependency_is_explained_in_its_decision():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(w for e, ws in extras.items() if e != "dev" for w in ws)]
    names = {re.match(r"[\w-]+", text)[0] for text in wanted} - {"confide"}
    page = (ROOT / "docs/explanation/decisions/0006-dependencies.md").read_text()
    explained = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\| ([^|]+)\|", page, re.M))))
    assert names <= explained


def test_every_inner_route_is_in_the_reference_and_has_a_proxy_route():
    page = (ROOT / "docs/reference/http.md").read_text()
    proxy = "\n".join(path.read_text() for path in ROOT.glob("src/confide/proxy/*.py"))
    for path in _ROUTES:
        assert f"{path}`" in page
        assert path in proxy or path.removeprefix("/v1") in proxy


def test_the_two_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    assert {"demo", "test", "setup"} <= make_targets()
    assert "make demo" in text
    assert "make test" in text


def test_every_decision_has_four_parts_and_fits_a_page():
    decisions = sorted(ROOT.glob("docs/explanation/decisions/*.md"))
    assert [int(page.name[:4]) for page in decisions] == list(range(1, len(decisions) + 1))
    for page in decisions:
        text = page.read_text()
        for part in ("Context", "Decision", "Consequences", "Revisit when"):
            assert f"**{part}" in text, page
        assert len(text.splitlines()) <= 75, page
