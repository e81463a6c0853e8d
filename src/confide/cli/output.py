"""stdout is data, stderr is talk.

Text that came from elsewhere (a gateway, a file, a model) may hold terminal control
sequences, so everything printed for people goes through `printable`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, NoReturn

import click

from confide.errors import AttestationError, ConfideError, GatewayError, TransportError

__all__ = [
    "EXIT_ATTESTATION",
    "EXIT_DONE",
    "EXIT_FAILED",
    "EXIT_GATEWAY",
    "EXIT_INTERRUPTED",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "emit",
    "exit_code",
    "fail",
    "paint",
    "printable",
    "report",
    "talk",
]

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ATTESTATION = 3
EXIT_GATEWAY = 4
EXIT_UNREACHABLE = 5
EXIT_INTERRUPTED = 130

_EXIT_CODES: tuple[tuple[type[ConfideError], int], ...] = (
    (AttestationError, EXIT_ATTESTATION),
    (GatewayError, EXIT_GATEWAY),
    (TransportError, EXIT_UNREACHABLE),
)


def exit_code(error: BaseException) -> int:
    """Say which exit code an error has: 3 refused evidence, 4 gateway, 5 unreachable, else 1."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_FAILED)


def printable(text: str) -> str:
    """Replace control characters, so that foreign text cannot drive the terminal.

    Line feed and tab stay. Everything else that Unicode does not call printable is
    written as its code point, for example ``\\x1b``.
    """
    return "".join(
        c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def paint(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """Colour text for a terminal; return it unchanged for anything else.

    Args:
        text: What to print.
        colour: A click colour name, such as "green".
        stream: Where it will be printed. Default: standard output.
    """
    target = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not target.isatty():
        return text
    return click.style(text, fg=colour)


def talk(text: str) -> None:
    """Print one message for people on standard error."""
    click.echo(printable(text), err=True)


def report(error: BaseException, *, hint: str | None = None) -> int:
    """Print an error and its hint on standard error.

    Args:
        error: What went wrong. Its message must hold no secret.
        hint: One next step; the error's own hint if absent.

    Returns:
        The exit code that belongs to the error.
    """
    message = printable(str(error)) or type(error).__name__
    prefix = paint("confide: error:", "red", sys.stderr)
    click.echo(f"{prefix} {message}", err=True)
    hint = hint or getattr(error, "hint", None)
    if hint:
        click.echo(f"confide: hint: {printable(hint)}", err=True)
    return exit_code(error)


def fail(error: ConfideError | str, *, hint: str | None = None) -> NoReturn:
    """Print an error and end the program with the exit code that belongs to it.

    Raises:
        SystemExit: Always.
    """
    raise SystemExit(report(ConfideError(error) if isinstance(error, str) else error, hint=hint))


def emit(
    data: Mapping[str, object] | Iterable[Mapping[str, object]], as_json: bool = False
) -> None:
    """Print one record or a table on standard output.

    Args:
        data: One mapping, or an iterable of mappings with the same keys.
        as_json: Print JSON with an indent of two instead. Values that JSON does not
            know are printed as text.
    """
    record = isinstance(data, Mapping)
    rows: Sequence[Mapping[str, object]] = [data] if isinstance(data, Mapping) else list(data)
    if as_json:
        content = rows[0] if record else rows
        click.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))
    elif record:
        width = max((len(key) for key in rows[0]), default=0)
        for key, value in rows[0].items():
            click.echo(f"{key:<{width}}  {_cell(value)}".rstrip())
    elif rows:
        _print_table(rows)


def _print_table(rows: Sequence[Mapping[str, object]]) -> None:
    names = list(rows[0])
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    header = [name.replace("_", " ").upper() for name in names]
    for line in [header, *cells]:
        pairs = zip(line, widths, strict=True)
        click.echo("  ".join(f"{text:<{width}}" for text, width in pairs).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return printable(", ".join(str(item) for item in value)) or "-"
    return printable(str(value)).replace("\n", " ")
