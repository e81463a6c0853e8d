"""The `confide` command: its table of commands, its errors and its exit codes.

Commands are imported when they are used, so that ``confide --help`` stays fast and a
missing extra hurts only the commands that need it.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import click

from confide.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, report, talk
from confide.errors import ConfideError

__all__ = ["COMMANDS", "cli", "confidential_claude", "confidential_proxy", "main"]


@dataclass(frozen=True)
class Entry:
    """Where one command lives.

    Attributes:
        module: Module under `confide.cli` whose ``register(group)`` adds it.
        summary: First line of its help; a test compares both.
        extra: The extra its imports need, or None if the base install is enough.
    """

    module: str
    summary: str
    extra: str | None = None


COMMANDS = {
    "admin": Entry("admin", "Manage API keys, enclaves and usage of a gateway.", "gateway"),
    "chat": Entry("chat", "Send one prompt through the seal and print the answer."),
    "config": Entry("config", "Show and check settings, with the origin of each value."),
    "doctor": Entry("doctor", "Check whether this machine can run confide."),
    "enclave": Entry("enclave", "Serve the enclave, the room that opens requests.", "enclave"),
    "endorsements": Entry(
        "endorsements", "Fetch, carry and list chip vendors' certificates and lists."
    ),
    "gateway": Entry("gateway", "Serve the blind gateway; migrate its database.", "gateway"),
    "keys": Entry("keys", "Create, rotate, back up and restore the keys kept at home."),
    "measure": Entry(
        "measure",
        "Predict the SEV-SNP launch digests of an image, one for each machine shape.",
        "measure",
    ),
    "policy": Entry("policy", "Write, check and compare appraisal policies."),
    "proxy": Entry(
        "proxy", "Run the local proxy that speaks OpenAI's and Anthropic's API.", "proxy"
    ),
    "release": Entry("release", "Sign releases, and check them against the keys you trust."),
    "up": Entry(
        "up", "Start proxy, gateway and enclave on this machine and serve until Ctrl-C.", "local"
    ),
    "verify": Entry("attest", "Check the enclave behind URL and say why it is trusted, or not."),
}


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List command names in alphabetical order, importing nothing."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one command and let it register itself."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            importlib.import_module(f"confide.cli.{COMMANDS[cmd_name].module}").register(self)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the command list from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="confide", prog_name="confide")
@click.option("--traceback", is_flag=True, help="On a defect, print where it happened.")
def cli(traceback: bool) -> None:
    """Language models without handing over your prompts.

    stdout is data, stderr is talk; --json on everything that reports. Exit codes: 0 done,
    1 failed, 2 usage, 3 attestation refused, 4 gateway refused, 5 unreachable.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    Args:
        arguments: Words after the program name. Default: those of the process.

    Raises:
        SystemExit: Always, with one of the exit codes of `confide.cli.output`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(words))


def confidential_proxy() -> None:
    """Run `confide proxy` under its short name.

    Raises:
        SystemExit: Always, with one of the exit codes of `confide.cli.output`.
    """
    sys.exit(_run(["proxy", *sys.argv[1:]]))


def confidential_claude() -> None:
    """Run `confide proxy claude` under its short name.

    Raises:
        SystemExit: Always, with the exit code of Claude Code.
    """
    sys.exit(_run(["proxy", "claude", *sys.argv[1:]]))


def _run(words: list[str]) -> int:
    try:
        result = cli.main(args=words, prog_name="confide", standalone_mode=False)
    except click.ClickException as error:
        return _show_usage(error)
    except (click.Abort, KeyboardInterrupt) as error:
        return _stopped(error)
    except ConfideError as error:
        return report(error)
    except ModuleNotFoundError as error:
        return _missing_module(error, words)
    except Exception as error:  # noqa: BLE001 - top of the process: nothing may end in a traceback
        return _defect(error, words)
    return result if isinstance(result, int) else 0


def _show_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        talk(error.format_message())  # the help itself; nobody made a mistake worth a name
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "confide"
    hint = f"{command} --help" if isinstance(error, click.UsageError) else None
    report(ConfideError(error.format_message()), hint=hint)
    return error.exit_code if error.exit_code else EXIT_USAGE


def _stopped(error: BaseException) -> int:
    interrupted = isinstance(error, KeyboardInterrupt) or isinstance(
        error.__cause__ or error.__context__, KeyboardInterrupt
    )
    if interrupted:
        talk("confide: stopped")
        return EXIT_INTERRUPTED
    talk("confide: nothing was changed")
    return EXIT_FAILED


def _missing_module(error: ModuleNotFoundError, words: Sequence[str]) -> int:
    name = error.name or "a module"
    if name.partition(".")[0] == "confide":
        return _defect(error, words)
    command = next((word for word in words if word in COMMANDS), None)
    extra = (COMMANDS[command].extra if command else None) or "all"
    return report(
        ConfideError(f"confide {command} needs an extra ({name} is not installed)"),
        hint=f"pip install 'confide[{extra}]'",
    )


def _defect(error: Exception, words: Sequence[str]) -> int:
    # The message of an unexpected exception may quote content, so it is not printed
    # unless the user asks for it.
    if "--traceback" in words:
        traceback.print_exception(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return report(
        ConfideError(f"unexpected {type(error).__name__}{place}; this is a defect of confide"),
        hint=f"confide --traceback {words[0]} ... shows more (confide {version('confide')})"
        if words
        else None,
    )
