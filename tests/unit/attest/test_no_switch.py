"""There is no switch: nothing in the package can be told to skip a check.

The source is read, not run. A name is suspicious if one of its words speaks of checking
or of danger; it is a switch if it is a boolean parameter, a boolean setting, a command
line flag or an environment variable.
"""

import ast
import re
from pathlib import Path

import pytest

import confide

SOURCE = Path(confide.__file__).parent
WORDS = {
    "attest", "attestation", "verify", "verification", "validate", "check", "skip", "insecure",
    "unsafe", "unverified", "untrusted", "trust", "simulated", "simulate", "bypass", "ignore",
    "allow", "disable", "enforce", "strict", "understand",
}  # fmt: skip
EXPECTED = {
    # Says what is made, and must be the literal True.
    "attest/platforms/simulated/verify.py: i_understand_this_is_not_hardware",
    # Adds a check: opens the store as well as listing it.
    "cli/keys.py: --check",
    "cli/keys.py: check",
    # Who may open a backup of one's own keys; says nothing about an enclave.
    "cli/keys_backup.py: --allow-classical",
    "cli/keys_backup.py: allow_classical",
    "client/keystore/backup.py: allow_classical",
    # Sends prompts to LangSmith as well, which LangChain's user asked for; off, and refused loudly.
    "langchain.py: allow_tracing",
}


def words(name):
    return set(re.split(r"[_\W]+", name.lower()))


def boolean(annotation, default):
    said = ast.unparse(annotation) if annotation is not None else ""
    value = default.value if isinstance(default, ast.Constant) else None
    return isinstance(value, bool) or re.search(r"\bbool\b|Literal\[(True|False)", said) is not None


def parameters(node):
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    yield from zip(positional, [*missing, *arguments.defaults], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def switches(tree):
    """Yield the names of boolean parameters and class attributes, and of command line flags."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for argument, default in parameters(node):
                if boolean(argument.annotation, default):
                    yield argument.arg
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and boolean(field.annotation, field.value):
                    yield ast.unparse(field.target)
                elif isinstance(field, ast.Assign) and boolean(None, field.value):
                    yield from (ast.unparse(target) for target in field.targets)
        elif isinstance(node, ast.Call) and any(k.arg == "is_flag" for k in node.keywords):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def suspicious(path):
    found = {name for name in switches(ast.parse(path.read_text())) if words(name) & WORDS}
    return {f"{path.relative_to(SOURCE).as_posix()}: {name}" for name in found}


def test_no_parameter_setting_or_flag_turns_a_check_off():
    found = set().union(*(suspicious(path) for path in SOURCE.rglob("*.py")))
    # The bare word states a fact about evidence; whoever reads it can only be louder.
    facts = {name for name in found if name.endswith(": simulated")}
    assert found - facts == EXPECTED


def test_no_environment_variable_is_read_by_the_verifier():
    for path in (SOURCE / "attest").rglob("*.py"):
        assert not re.search(r"\benviron\b|\bgetenv\b", path.read_text()), path


@pytest.mark.parametrize(
    "source",
    [
        "def f(attest=True): ...",
        "def f(*, skip_verification: bool): ...",
        "async def f(a, verify: bool | None = None): ...",
        "class S:\n    insecure: bool = False",
        "class S:\n    allow_debug = False",
        "option('--no-verify', is_flag=True)",
    ],
)
def test_the_search_finds_a_switch(source):
    assert any(words(name) & WORDS for name in switches(ast.parse(source)))
