"""Run a program with its own environment and stand between it and whoever started us.

Signals reach the program, its exit code becomes ours, and what it inherits is chosen: the
address of a proxy and a key for it, none of the proxy's own secrets, and no detour of
loopback requests through a web proxy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from confide.errors import ConfigError

__all__ = ["EXIT_CODES", "environment_for", "run_program"]

EXIT_CODES: Final = {"program-not-found": 127, "program-not-executable": 126}
"""Code of the error of `run_program` to exit code, as of a shell."""

_HELD_BACK: Final = ("CLIENT_KEK", "CONFIDE_API_KEY", "ANTHROPIC_API_KEY")
_HELD_BACK_PREFIX: Final = "CONFIDE_PROXY__"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_FORWARDED: Final = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGINT")


def environment_for(
    names: Mapping[str, str], *, openai_url: str, anthropic_url: str, key: str
) -> dict[str, str]:
    """Make the environment of a program that shall use the proxy.

    Args:
        names: Our own environment.
        openai_url: Base URL for OpenAI clients, with /v1.
        anthropic_url: Base URL for Anthropic clients, without /v1.
        key: What clients send as API key.

    Returns:
        A new environment. A key of the user's for Anthropic is not in it: it is not for us.
    """
    made = {
        name: value
        for name, value in names.items()
        if name not in _HELD_BACK and not name.startswith(_HELD_BACK_PREFIX)
    }
    made.update(
        OPENAI_BASE_URL=openai_url,
        OPENAI_API_KEY=key,
        ANTHROPIC_BASE_URL=anthropic_url,
        ANTHROPIC_AUTH_TOKEN=key,
    )
    # With HTTP_PROXY set, some clients would send plaintext prompts for 127.0.0.1 there.
    for name in ("NO_PROXY", "no_proxy"):
        entries = [entry.strip() for entry in made.get(name, "").split(",") if entry.strip()]
        made[name] = ",".join([*entries, *(host for host in _LOOPBACK if host not in entries)])
    return made


def run_program(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program to its end.

    Args:
        command: Program and arguments.
        environment: All of its environment.

    Returns:
        Its exit code; 128 and the number of the signal that ended it.

    Raises:
        ConfigError: There is no such program, or it may not be run; see `EXIT_CODES`.
    """
    received: list[int] = []
    with _noting(received) as forward_to:
        try:
            process = subprocess.Popen(list(command), env=dict(environment))
        except FileNotFoundError:
            raise ConfigError(
                f"there is no program {command[0]}", code="program-not-found"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"cannot run {command[0]}: {error.strerror}", code="program-not-executable"
            ) from error
        forward_to.append(process)
        for number in received:  # came before there was anyone to tell
            process.send_signal(number)
        status = process.wait()
    return 128 - status if status < 0 else status


@contextmanager
def _noting(received: list[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Pass signals on to a process once there is one."""
    forward_to: list[subprocess.Popen[bytes]] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGQUIT) and _terminal_sends_it():
            return  # the program is in the same group and got it already
        if not forward_to:
            received.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            forward_to[0].send_signal(number)

    numbers = [getattr(signal, name) for name in _FORWARDED]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield forward_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminal_sends_it() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # standard input is no terminal
        return False
