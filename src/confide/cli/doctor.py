"""`confide doctor`: can this machine run confide, and if not, what to do next."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confide.cli.output import EXIT_FAILED, emit, paint
from confide.errors import ConfigError, KeystoreError, TransportError

if TYPE_CHECKING:
    from confide.attest.platforms.machine import Found, Gpus, Machine

__all__ = ["Check", "register"]

OK, NOTE, FAILED = "ok", "note", "failed"

EXTRAS = {
    "proxy": ("starlette", "uvicorn"),
    "gateway": ("alembic", "sqlalchemy"),
    "enclave": ("starlette", "uvicorn", "aiohttp"),
    "llamacpp": ("xllamacpp",),
}
"""Extra to the modules that it brings and that confide imports."""

PORTS = {8000: "proxy", 8001: "gateway", 8002: "enclave"}

OLDEST_PLAUSIBLE = datetime(2026, 11, 1, tzinfo=UTC)
"""No clock can be earlier than the month in which this version was written."""

CLOCK_TOLERANCE_S = 60
"""An enclave refuses requests dated more than 60 s ahead or 120 s behind its own clock."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        outcome: "ok", "note" (works, but something is absent) or "failed".
        detail: What was found.
        next_step: What to do, or None.
    """

    name: str
    outcome: str
    detail: str
    next_step: str | None = None


@click.command()
@click.option("--gateway", metavar="URL", help="Also ask this gateway, and compare clocks with it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(gateway: str | None, as_json: bool) -> None:
    """Check whether this machine can run confide.

    Looks at Python, libraries, extras, the clock, the data directory, the client KEK, the
    three default ports, and what could prove an enclave on this machine: the kernel's
    provider of reports, Azure's paravisor, and the state of NVIDIA GPUs. Nothing is left
    changed; asks the network only with --gateway. Exits 0 if nothing failed, 1 otherwise,
    5 if the gateway cannot be reached.

    \b
    Example:
      $ confide doctor
      ok      python          3.12.3
      ok      cryptography    50.0.0; ML-KEM-768 available
      note    extra llamacpp  xllamacpp is not installed
                              pip install 'confide[llamacpp]'
    """
    from confide.config.sources import home_directory

    checks = list(machine_checks(home_directory()))
    if gateway is not None:
        checks.append(check_gateway(gateway, _wall_clock))
    if as_json:
        emit([asdict(check) for check in checks], as_json)
    else:
        _print(checks)
    if any(check.outcome == FAILED for check in checks):
        raise SystemExit(EXIT_FAILED)


def machine_checks(home: Path) -> Iterator[Check]:
    """Run every check that needs no network.

    Args:
        home: The data directory.
    """
    yield check_python(sys.version_info[:3])
    yield check_cryptography()
    yield from (check_extra(extra, modules) for extra, modules in EXTRAS.items())
    yield check_clock(_wall_clock())
    yield check_data_directory(home)
    yield check_kek(home / "client" / "kek")
    yield from (check_port(port, room) for port, room in PORTS.items())
    yield from check_hardware()


def check_python(found: tuple[int, ...]) -> Check:
    """Python 3.11 or newer."""
    text = ".".join(str(part) for part in found)
    if found < (3, 11):
        return Check("python", FAILED, f"{text}; confide needs 3.11 or newer")
    return Check("python", OK, text)


def check_cryptography() -> Check:
    """The library has ML-KEM-768, the post-quantum half of X-Wing."""
    from cryptography.exceptions import UnsupportedAlgorithm

    release = version("cryptography")
    try:
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

        MLKEM768PrivateKey.generate()
    except (ImportError, UnsupportedAlgorithm):
        return Check(
            "cryptography",
            FAILED,
            f"{release}; no ML-KEM-768",
            "pip install --upgrade cryptography",
        )
    return Check("cryptography", OK, f"{release}; ML-KEM-768 available")


def check_extra(extra: str, modules: tuple[str, ...]) -> Check:
    """The modules of one extra can be found; they are not imported."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        detail = f"not installed: {', '.join(missing)}"
        return Check(f"extra {extra}", NOTE, detail, f"pip install 'confide[{extra}]'")
    return Check(f"extra {extra}", OK, "installed")


def check_clock(now: float) -> Check:
    """The wall clock is not before this version was written."""
    shown = datetime.fromtimestamp(now, UTC)
    if shown < OLDEST_PLAUSIBLE:
        detail = f"{shown:%Y-%m-%d %H:%M} UTC is in the past; evidence and requests carry dates"
        return Check("clock", FAILED, detail, "set the clock, for example with NTP")
    return Check("clock", OK, f"{shown:%Y-%m-%d %H:%M} UTC")


def check_data_directory(home: Path) -> Check:
    """The data directory, or the nearest existing parent, can be written; others cannot read it."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        detail = f"{home} cannot be written"
        return Check(
            "data directory", FAILED, detail, "set CONFIDE_HOME to a directory you can write"
        )
    if existing != home:
        return Check("data directory", OK, f"{home} (will be created)")
    if home.stat().st_mode & 0o077:
        return Check("data directory", NOTE, f"{home} is readable by others", f"chmod 700 {home}")
    return Check("data directory", OK, str(home))


def check_kek(path: Path) -> Check:
    """The key store is readable by its owner alone and holds a KEK, as far as it says."""
    from confide.client.keystore import describe

    if not path.exists():
        return Check("client kek", NOTE, f"none at {path}", "confide keys create, or confide up")
    try:
        info = describe(path)
    except KeystoreError as error:
        return Check("client kek", FAILED, str(error), error.hint)
    return Check("client kek", OK, f"{info.labels[0].id}, kept as {info.kind.value} at {path}")


def check_port(port: int, room: str) -> Check:
    """The default port of one room is free on loopback."""
    from confide.proxy.ports import holder_of

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pid = holder_of("127.0.0.1", port)
            holder = "a process of another user" if pid is None else f"process {pid}"
            detail = f"{holder} listens on 127.0.0.1:{port}; it may be confide itself"
            return Check(f"port {port}", NOTE, detail, f"the port of the {room} is a setting")
    return Check(f"port {port}", OK, f"free, for the {room}")


def check_hardware(machine: Machine | None = None) -> Iterator[Check]:
    """What this machine has that could prove an enclave on it, part by part."""
    if machine is None:
        from confide.attest.platforms.machine import Machine as ThisMachine

        machine = ThisMachine()
    provider, paravisor = machine.provider(), machine.paravisor()
    devices = machine.devices()
    yield _found("tee provider", provider, "configfs-tsm")
    yield Check("tee device", OK if devices else NOTE, ", ".join(devices) or "none")
    yield _found("tee paravisor", paravisor, "Azure")
    platform = machine.platform()
    if platform is None:
        detail = "no SEV-SNP or TDX guest: evidence can only be simulated here"
        yield Check("tee", NOTE, detail, "confide up tries confide with simulated evidence")
    else:
        detail = f"this machine can prove itself; set platform = {platform!r} in the settings"
        yield Check("tee", OK, detail, "confide enclave serve --config FILE")
    yield _check_gpus(machine.gpus())


def _found(name: str, found: Found, by: str) -> Check:
    if found.value is None:
        return Check(name, NOTE, found.refusal, found.hint)
    return Check(name, OK, f"{found.value}, by {by}")


def _check_gpus(found: Gpus | Found) -> Check:
    from confide.attest.platforms.machine import Found as NothingFound

    if isinstance(found, NothingFound):
        return Check("gpu", NOTE, found.refusal, found.hint)
    state = (
        f"{found.count}; confidential computing {'on' if found.confidential else 'off'}, "
        f"DevTools {'on' if found.developer_tools else 'off'}, "
        f"{'production' if found.production else 'not production'}"
    )
    if found.confidential and not found.developer_tools and found.production:
        return Check("gpu", OK, state, f"set gpus = {found.count} in the settings of the enclave")
    hint = "an enclave with gpus above 0 does not start; the host sets the mode of the GPUs"
    return Check("gpu", NOTE, state, hint)


def check_gateway(url: str, now: Callable[[], float]) -> Check:
    """The gateway answers, and its clock agrees with ours.

    Args:
        url: Base URL of the gateway.
        now: Clock, unix seconds.

    Raises:
        ConfigError: `url` is not a URL.
        TransportError: No answer within 10 s.
    """
    import httpx2

    try:
        answer = httpx2.get(f"{url.rstrip('/')}/healthz", timeout=10)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise ConfigError(f"{url} is not a URL") from error
    except httpx2.HTTPError as error:
        raise TransportError(f"no answer from {url} within 10 s") from error
    if answer.status_code != 200:
        return Check("gateway", FAILED, f"{url} answers {answer.status_code} on /healthz")
    try:
        date = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Check("gateway", NOTE, f"{url} answers, without a date")
    apart = round(now() - date)
    if abs(apart) > CLOCK_TOLERANCE_S:
        detail = f"{url} answers, but the clocks are {abs(apart)} s apart; requests will be refused"
        return Check("gateway", FAILED, detail, "set the clock, for example with NTP")
    return Check("gateway", OK, f"{url} answers; clocks {abs(apart)} s apart")


def _wall_clock() -> float:
    return time.time()  # noqa: TID251 - the command line is where the wall clock enters


def _print(checks: list[Check]) -> None:
    colours = {OK: "green", NOTE: "yellow", FAILED: "red"}
    width = max(len(check.name) for check in checks)
    for check in checks:
        outcome = paint(f"{check.outcome:<6}", colours[check.outcome])
        click.echo(f"{outcome}  {check.name:<{width}}  {check.detail}")
        if check.next_step:
            click.echo(f"{'':<6}  {'':<{width}}  {check.next_step}")


def register(group: click.Group) -> None:
    """Add the command to the root group."""
    group.add_command(doctor)
