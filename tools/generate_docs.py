"""Write the reference pages that are derived from the code, or check that they are current.

    python tools/generate_docs.py            write
    python tools/generate_docs.py --check    exit 1 and name the pages that differ

Pages: docs/reference/cli.md (help of every command), settings.md (the settings classes),
error-codes.md (the error tree, and every code that is raised), policy-file.md, and
tests/contracts/public_api.txt (names and signatures that callers may rely on).
"""

from __future__ import annotations

import argparse
import ast
import difflib
import enum
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from confide import errors, plugins
from confide.cli.main import cli
from confide.cli.output import exit_code
from confide.config import sources
from confide.enclave.inference.options import Options
from policy_page import policy_page

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "confide"
NOTE = "<!-- Written by tools/generate_docs.py. Change the code, then run it again. -->"

PUBLIC = (
    "confide.errors",
    "confide",
    "confide.attest.policy",
    "confide.attest",
    "confide.enclave.inference.backend",
    "confide.sealing",
    "confide.asgi",
    "confide.relay",
)
"""Packages whose names are a promise; everything else may change in a minor version."""


# --- command line ---------------------------------------------------------------------------


def commands(
    command: click.Command, path: str, above: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Walk the command tree; yield each command's path and its help text."""
    name = path.rsplit(" ", 1)[-1]
    context = click.Context(command, info_name=name, parent=above, terminal_width=80)
    context.max_content_width = 80
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from commands(found, f"{path} {child}", context)


def cli_page() -> str:
    """The help of every command."""
    parts = ["# Command line", NOTE, CLI_INTRODUCTION.strip()]
    for path, text in commands(cli, "confide"):
        level = "##" if path.count(" ") < 2 else "###"
        parts.append(f"{level} `{path}`\n\n```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


CLI_INTRODUCTION = """
stdout is data, stderr is talk. Errors are `confide: error: ...`, then, where there is one next
step, `confide: hint: ...`.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed |
| 2 | wrong usage |
| 3 | attestation refused |
| 4 | the gateway refused |
| 5 | unreachable |
| 130 | stopped with Ctrl-C |
"""


# --- settings -------------------------------------------------------------------------------


def settings_page() -> str:
    """One table per process."""
    from confide.cli.config import PROCESSES, settings_class
    from confide.config.enclave import EnclaveSettings

    parts = ["# Settings", NOTE, SETTINGS_INTRODUCTION.strip()]
    for table in sorted(PROCESSES):
        parts.append(
            f"## `[{table}]`\n\n" + "\n".join(_settings_rows(settings_class(table), table))
        )
    parts.append(f"## Enclave\n\n{ENCLAVE_INTRODUCTION.strip()}")
    for name, field in EnclaveSettings.model_fields.items():
        nested = _model_in(field.annotation)
        if nested is not None:
            heading = f"`[[{name}]]`" if nested is not field.annotation else f"`[{name}]`"
            parts.append(f"### {heading}\n\n" + "\n".join(_settings_rows(nested, None)))
    parts += list(_backend_options())
    plain = [f"| `{name}` | {text} |" for name, text in sources.PLAIN_NAMES.items()]
    header = "## Other environment variables\n\n| name | meaning |\n| --- | --- |\n"
    parts.append(header + "\n".join(plain))
    return "\n\n".join(parts) + "\n"


SETTINGS_INTRODUCTION = """
The gateway and the proxy take each value from the first of: a flag, an environment variable, the
process's table in `confide.toml`, the default. `confide.toml` is read from the data directory, or
from the file that `CONFIDE_CONFIG` names. An unknown key and an unknown `CONFIDE_*` variable are
errors. `confide config show` prints every value with its origin; `confide config check` validates
without starting anything. No setting turns a check off.
"""

ENCLAVE_INTRODUCTION = """
The enclave reads one TOML file and nothing else, because its host controls its environment. The
digest of the file's bytes is in the manifest, and the manifest's digest is in the evidence.
"""


def _backend_options() -> Iterator[str]:
    """One table per built-in backend: the options that its table of ``[[backends]]`` takes."""
    for kind in plugins.offered(plugins.BACKENDS):
        backend = plugins.load(plugins.BACKENDS, kind)
        module = sys.modules[getattr(backend, "__module__", "")]
        options = next(
            value
            for value in vars(module).values()
            if inspect.isclass(value) and issubclass(value, Options) and value is not Options
        )
        rows = "\n".join(_settings_rows(options, None))
        yield f'### Options of `kind = "{kind}"`\n\n{rows}'


def _meaning(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """The description of a field, or its entry under "Attributes:" in the class docstring."""
    text = field.description
    if text is None:
        entry = re.search(
            rf"^    {name}: (.*(?:\n {{8,}}.*)*)", inspect.getdoc(model) or "", re.MULTILINE
        )
        text = " ".join(entry[1].split()) if entry else ""
    return text.replace("|", "\\|").replace("\n", " ")


def _settings_rows(model: type[BaseModel], table: str | None) -> Iterator[str]:
    yield "| setting | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for path, field in _fields(model):
        name = f"`{'.'.join(path)}`"
        if table is not None:
            variable = "__".join([f"CONFIDE_{table.upper()}", *(part.upper() for part in path)])
            name += f"<br>`{variable}`"
        meaning = _meaning(model, path[-1], field)
        yield f"| {name} | {_type_name(field.annotation)} | {_default(field)} | {meaning} |"


def _fields(
    model: type[BaseModel], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, (*above, name))
        else:
            yield (*above, field.alias or name), field


def _model_in(annotation: object) -> type[BaseModel] | None:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _type_name(annotation: object) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type_name(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    arguments = [part for part in get_args(annotation) if part not in (type(None), Ellipsis)]
    if origin in (list, tuple, set, frozenset):
        return f"list of {_type_name(arguments[0])}" if arguments else "list"
    if origin is dict:
        return "table"
    if arguments:
        return " or ".join(_type_name(part) for part in arguments)
    names = {"str": "text", "int": "integer", "float": "number", "bool": "`true`, `false`"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, {"SecretStr": "secret text"}.get(name, name.lower()))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = (
        field.default
        if field.default is not PydanticUndefined
        else field.get_default(call_default_factory=True, validated_data={})
    )
    if value is None or value in ("", (), [], {}):
        return "none"
    if isinstance(value, tuple | list):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, Path):
        # A default below the data directory differs from machine to machine.
        home = sources.home_directory()
        value = f"DATA/{value.relative_to(home)}" if value.is_relative_to(home) else value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- error codes ----------------------------------------------------------------------------


def error_classes() -> list[type[errors.ConfideError]]:
    """The tree in depth-first order, as drawn in `confide.errors`."""

    def walk(kind: type[errors.ConfideError]) -> Iterator[type[errors.ConfideError]]:
        yield kind
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                yield from walk(child)

    return list(walk(errors.ConfideError))


def raised_codes() -> dict[str, tuple[set[str], list[str]]]:
    """Find every literal ``code="..."`` given to a call in the package.

    Returns:
        Code to the names that are called with it, and what their messages say, with an
        ellipsis in place of values.
    """
    found: dict[str, tuple[set[str], list[str]]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for listed, called, message in _listed_codes(node):
                names, messages = found.setdefault(listed, (set(), []))
                names.add(called)
                if message and message not in messages:
                    messages.append(message)
            code = _literal_code(node)
            if code is None or not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rsplit(".", 1)[-1]
            if called == "event":  # a log line, not an error
                continue
            names, messages = found.setdefault(code, (set(), []))
            names.add(called)
            message = _message(node.args[0]) if node.args else ""
            if called == "AppraisalError":
                message = f"{message} is …; the policy accepts …" if message else OBJECTION
            if message and message not in messages:
                messages.append(message)
    return dict(sorted(found.items()))


def _listed_codes(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Yield the values of a constant table of codes, such as ``_DEBUG_CODES = {...}``.

    What a policy objects to has one code per platform; the claim's name says the rest. Codes
    of endorsements are in a table where one check serves two kinds of them; such a table is
    called ``..._ENDORSEMENT_CODES``.
    """
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Dict):
        return
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    if isinstance(target, ast.Name) and target.id.endswith("_CODES"):
        values = [one.value for one in node.value.values if isinstance(one, ast.Constant)]
        endorsement = target.id.endswith("_ENDORSEMENT_CODES")
        raised = ("EndorsementError", "") if endorsement else ("AppraisalError", OBJECTION)
        yield from ((one, *raised) for one in values if isinstance(one, str) and "." in one)


def _literal_code(node: ast.AST) -> str | None:
    for keyword in node.keywords if isinstance(node, ast.Call) else ():
        value = keyword.value
        if keyword.arg == "code" and isinstance(value, ast.Constant):
            return str(value.value)
    return None


def _message(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("|", "\\|")
    if isinstance(node, ast.JoinedStr):
        return "".join(_message(part) or "…" for part in node.values)
    return ""


def error_codes_page() -> str:
    """The tree, then every code that is given where an error is raised."""
    lines = ["# Error codes", "", NOTE, "", ERRORS_INTRODUCTION.strip(), ""]
    lines += ["| code | class | meaning | HTTP | exit |", "| --- | --- | --- | --- | --- |"]
    for kind in error_classes():
        depth = len(kind.__mro__) - len(errors.ConfideError.__mro__)
        status = getattr(kind, "default_status", None)
        summary = (inspect.getdoc(kind) or "").splitlines()[0].replace("|", "\\|")
        row = (f"`{kind.code}`", "&nbsp;&nbsp;" * depth + f"`{kind.__name__}`", summary)
        ends = exit_code(kind.__new__(kind))
        lines.append(f"| {' | '.join(row)} | {status or ''} | {ends} |")
    lines += ["", "## Codes given where the error is raised", "", RAISED_INTRODUCTION.strip(), ""]
    lines += ["| code | raised as | messages |", "| --- | --- | --- |"]
    for code, (names, messages) in raised_codes().items():
        called = ", ".join(f"`{name}`" for name in sorted(names))
        shown = messages[:MESSAGES] + (["and others"] if len(messages) > MESSAGES else [])
        lines.append(f"| `{code}` | {called} | {'; '.join(shown)} |")
    return "\n".join(lines) + "\n"


ERRORS_INTRODUCTION = """
Every error is one class in `confide.errors` and carries a stable `code`, the same slug in Python,
in the command line's JSON and in problem documents (RFC 9457) of the gateway. Two questions place
an error: was it authenticated, and what should the caller do? A `GatewayError` came in plaintext
and is never treated as model output; an `EnclaveError` came sealed, so it is authentic. HTTP
statuses are the default of the class; the exit code is that of the `confide` command.
"""

OBJECTION = "a claim is …; the policy accepts …"
MESSAGES = 3
"""Messages that are shown per code, as examples."""

RAISED_INTRODUCTION = """
A class has one default code; some places give a narrower one. An ellipsis stands for a value.
"""


# --- public API -----------------------------------------------------------------------------


def public_api() -> str:
    """Names and signatures in `PUBLIC`, one per line; what is exported twice, once in full."""
    lines: list[str] = []
    described: dict[int, str] = {}
    for package in PUBLIC:
        module = importlib.import_module(package)
        for name in sorted(getattr(module, "__all__", ())):
            path, member = f"{package}.{name}", getattr(module, name)
            if described.setdefault(id(member), path) != path:
                lines.append(f"{path} is {described[id(member)]}")
            else:
                lines.extend(_describe(path, member))
    return "\n".join(lines) + "\n"


def _describe(path: str, member: object) -> Iterator[str]:
    if inspect.isclass(member):
        yield f"class {path}{_signature(member)}"
        yield from (f"    {line}" for line in _members(member))
    elif inspect.isfunction(member):
        yield f"def {path}{_signature(member)}"
    else:
        yield path


def _members(kind: type) -> Iterator[str]:
    if issubclass(kind, enum.Enum):
        yield from kind.__members__
        return
    for name, value in sorted(vars(kind).items()):
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if name.startswith("_"):
            continue
        if inspect.isfunction(function) and function.__name__ == name:
            yield f"{name}{_signature(function)}"
        elif isinstance(value, property):
            yield name


def _signature(member: Callable[..., object]) -> str:
    if inspect.isclass(member) and (
        issubclass(member, enum.Enum) or getattr(member, "_is_protocol", False)
    ):
        return ""  # what Python prints here differs between its versions
    text = re.sub(r"<(?:built-in )?function (\w+)[^>]*>", r"\1", str(inspect.signature(member)))
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are text in this code base


# --- writing --------------------------------------------------------------------------------

PAGES: dict[Path, Callable[[], str]] = {
    Path("docs/reference/cli.md"): cli_page,
    Path("docs/reference/settings.md"): settings_page,
    Path("docs/reference/error-codes.md"): error_codes_page,
    Path("docs/reference/policy-file.md"): lambda: policy_page(NOTE),
    Path("tests/contracts/public_api.txt"): public_api,
}


def stale_pages() -> dict[Path, str]:
    """Return each page that differs from the code, with a unified diff."""
    stale = {}
    for path, build in PAGES.items():
        old = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        new = build()
        if old != new:
            lines = difflib.unified_diff(
                old.splitlines(),
                new.splitlines(),
                f"{path} (committed)",
                f"{path} (code)",
                "",
                "",
                1,
                "",
            )
            stale[path] = "\n".join(lines)
    return stale


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write or check the generated reference pages.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a page is old"
    )
    if parser.parse_args().check:
        stale = stale_pages()
        for path, changes in stale.items():
            print(f"{path} is not what the code says; run: python tools/generate_docs.py")
            print("\n".join(changes.splitlines()[:40]))
        return 1 if stale else 0
    for path, build in PAGES.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(build())
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
