"""Start a server in the background, stop it, say how it is.

Stopping goes from asking to ending. SIGTERM asks. A server that does not react within
`REACTION_S` is killed. One that reacted finishes its open answers for as long as was
agreed, is asked once more to end now, and is killed if it does not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from confide.daemon.presence import DRAINING, SERVING, Found, look, remove_stale
from confide.daemon.probe import ask, url_of
from confide.daemon.target import POLL_S, Target
from confide.errors import ConfideError, ConfigError

__all__ = ["REACTION_S", "Launch", "Running", "Stopped", "start", "status", "stop"]

REACTION_S: Final = 5.0
"""Seconds a server has to begin stopping."""

_HURRY_S: Final = 2.0  # to end after it was told not to wait any longer
_GRACE_S: Final = 1.0  # to clean up after the last answer
_LAST_WORDS: Final = 64 * 1024  # bytes of its log that are searched


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        command: Program and arguments. It must claim `pid_file` and note its address there.
        pid_file: Where to look for it.
        log_file: Its output; None is this process's own.
        environment: All of its environment; None is this process's own.
        with_parent: Give it a pipe as standard input that closes when this process ends.
    """

    command: Sequence[str]
    pid_file: Path
    log_file: Path | None = None
    environment: Mapping[str, str] | None = None
    with_parent: bool = False


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        pid: Its process.
        url: Base URL on this machine.
        facts: What its PID file says.
        healed: Whether a stale PID file was in the way.
        lifeline: Its standard input, if it was started `with_parent`.
    """

    pid: int
    url: str
    facts: Mapping[str, object]
    healed: bool = False
    lifeline: IO[bytes] | None = None


@dataclass(frozen=True)
class Stopped:
    """How stopping went.

    Attributes:
        outcome: "stopped"; "hurried" if answers were cut off when their time was over;
            "killed"; "stale" if only a PID file was there; "not-running".
        pid: The process, if there was one.
    """

    outcome: Literal["stopped", "hurried", "killed", "stale", "not-running"]
    pid: int | None = None


def start(launch: Launch, *, timeout_s: float = 30.0) -> Running:
    """Start a server in its own session, wait until it answers, leave it running.

    Raises:
        ConfigError: It runs already, ended at once (with its own last words), or did not
            answer in time; then it was ended again.
    """
    found = look(launch.pid_file)
    if found and found.alive:
        raise ConfigError(
            f"it already runs (pid {found.pid or 'unknown'})",
            code="already-running",
            hint="stop it first, or choose another --pid-file and --port",
        )
    process, said_before = _spawn(launch)
    try:
        facts = _await(process, launch, said_before, time.monotonic() + timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        remove_stale(launch.pid_file)
        raise
    process.returncode = 0  # nobody waits for it here: it outlives this process
    return Running(process.pid, url_of(facts), facts, found is not None, process.stdin)


def _spawn(launch: Launch) -> tuple[subprocess.Popen[bytes], int]:
    with contextlib.ExitStack() as stack:
        output = None
        said_before = 0
        if launch.log_file is not None:
            output = stack.enter_context(_open_log(launch.log_file))
            said_before = os.fstat(output.fileno()).st_size
        process = subprocess.Popen(
            list(launch.command),
            stdin=subprocess.PIPE if launch.with_parent else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if launch.environment is None else dict(launch.environment),
            start_new_session=True,
        )
    return process, said_before


def _open_log(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    except OSError as error:
        raise ConfigError(f"cannot write the log file {path}: {error.strerror}") from error


def _await(
    process: subprocess.Popen[bytes], launch: Launch, said_before: int, deadline: float
) -> Mapping[str, object]:
    kept = launch.log_file is not None and not launch.with_parent
    log = f"its log: {launch.log_file}" if kept else None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            error, hint = _last_words(launch.log_file, said_before)
            raise ConfigError(
                error or f"it ended at once with {process.returncode}", hint=hint or log
            )
        found = look(launch.pid_file)
        ours = found is not None and found.pid == process.pid and found.state == SERVING
        if found and ours and ask(found.facts) is not None:
            return found.facts
        time.sleep(POLL_S)
    raise ConfigError("it was not ready in time and was ended", hint=log)


def _last_words(log: Path | None, said_before: int) -> tuple[str, str]:
    """Error and hint that the server printed since it was started."""
    if log is None:
        return "", ""
    try:
        with log.open("rb") as file:
            file.seek(said_before)
            lines = file.read(_LAST_WORDS).decode(errors="replace").splitlines()[::-1]
    except OSError:
        return "", ""
    error, hint = (
        next((line.removeprefix(start) for line in lines if line.startswith(start)), "")
        for start in ("confide: error: ", "confide: hint: ")
    )
    return error, hint


def stop(
    pid_file: Path, *, drain_s: float | None = None, reaction_s: float = REACTION_S
) -> Stopped:
    """Stop the server of a PID file and wait for its end.

    Args:
        pid_file: The file.
        drain_s: Seconds open answers may take. Default: what the server was started with.
        reaction_s: Seconds until it must have begun to stop.

    Raises:
        ConfideError: It belongs to another user, or cannot be ended.
    """
    found = look(pid_file)
    if found is None:
        return Stopped("not-running")
    if not found.alive:
        remove_stale(pid_file)
        return Stopped("stale", found.pid)
    target = _aim(pid_file)
    if target is None:
        return Stopped("not-running")
    try:
        outcome = _end(target, pid_file, _seconds(found, drain_s), reaction_s)
    except PermissionError as error:
        raise ConfideError(f"process {target.pid} belongs to another user") from error
    finally:
        target.close()
    remove_stale(pid_file)
    return Stopped(outcome, target.pid)


def _aim(pid_file: Path) -> Target | None:
    """Name the process, then make sure that it still was the server when it was named."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        found = look(pid_file)
        if found is None or not found.alive:
            return None
        if found.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                target = Target(found.pid)
                again = look(pid_file)
                if again and again.alive and again.pid == found.pid:
                    return target
                target.close()
        time.sleep(POLL_S)
    raise ConfideError(f"the process that holds {pid_file} does not say its number")


def _seconds(found: Found, drain_s: float | None) -> float:
    agreed = found.facts.get("shutdown_timeout_s", 30.0)
    chosen = agreed if drain_s is None else drain_s
    return float(chosen) if isinstance(chosen, int | float) else 30.0


def _end(
    target: Target, pid_file: Path, drain_s: float, reaction_s: float
) -> Literal["stopped", "hurried", "killed"]:
    asked = time.monotonic()
    target.send(signal.SIGTERM)
    while not target.gone:
        waited = time.monotonic() - asked
        if waited > drain_s + _GRACE_S:
            break
        found = look(pid_file)
        reacts = found is None or found.state in (DRAINING, "stopped")
        if waited > reaction_s and not reacts:
            return _kill(target)
        time.sleep(POLL_S)
    else:
        return "stopped"
    target.send(signal.SIGINT)
    return "hurried" if target.wait(time.monotonic() + _HURRY_S) else _kill(target)


def _kill(target: Target) -> Literal["killed"]:
    target.send(signal.SIGKILL)
    if not target.wait(time.monotonic() + REACTION_S):
        raise ConfideError(f"process {target.pid} cannot be ended")
    return "killed"


def status(pid_file: Path) -> dict[str, object]:
    """Say whether the server of a PID file runs and answers, in JSON types."""
    found = look(pid_file)
    shown: dict[str, object] = {"state": "stopped", "reachable": False, "pid_file": str(pid_file)}
    if found is None:
        return shown
    shown["state"] = found.state
    if not found.alive:
        return {**shown, "stale_pid": found.pid}
    shown.update(pid=found.pid, url=url_of(found.facts) if "port" in found.facts else None)
    shown.update({name: found.facts.get(name) for name in ("started_at", "log_file", "version")})
    if (answer := ask(found.facts)) is not None:
        shown["reachable"] = True
        shown.update({name: answer.get(name) for name in ("verified", "simulated")})
    return shown
