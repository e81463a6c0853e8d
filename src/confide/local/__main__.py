"""Run one room of the local stack: `python -m confide.local ROOM --settings FILE --home DIR`.

Started by `confide.local.stack`, which holds the other end of standard input: when it
dies, this process stops itself. A proxy with `--pid-file` is a daemon and does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from confide.daemon.lifeline import stop_when_parent_dies
from confide.errors import ConfideError, ConfigError
from confide.local.home import Home

__all__ = ["main"]


def _gateway(settings: Path, home: Home, **_: Path | None) -> None:
    from confide.apps.gateway import serve_gateway
    from confide.config.gateway import GatewaySettings
    from confide.local.simulated import simulated_verifier

    serve_gateway(
        GatewaySettings.model_validate(json.loads(settings.read_text())),
        verifier=simulated_verifier(home),
    )


def _enclave(settings: Path, home: Home, **_: Path | None) -> None:
    from confide.apps.enclave import serve_enclave
    from confide.config.enclave import EnclaveSettings
    from confide.local.simulated import refuse_beside_hardware, simulated_collector

    refuse_beside_hardware(EnclaveSettings.load(settings).settings.enclave.host)
    serve_enclave(settings, collector=simulated_collector(home))


def _proxy(settings: Path, home: Home, **files: Path | None) -> None:
    from confide.apps.proxy import Surroundings, serve_proxy
    from confide.config.proxy import ProxySettings
    from confide.local.simulated import simulated_verifier

    chosen = ProxySettings.model_validate(json.loads(settings.read_text()))
    if chosen.policy_file is not None:
        raise ConfigError(
            f"{chosen.policy_file} is a policy for hardware; the local stack is simulated",
            hint="confide proxy run --policy FILE asks a real enclave",
        )
    serve_proxy(
        chosen,
        verifier=simulated_verifier(home),
        surroundings=Surroundings(home.path, **files),
    )


_ROOMS: dict[str, Callable[..., None]] = {"gateway": _gateway, "enclave": _enclave, "proxy": _proxy}


def main(arguments: list[str] | None = None) -> int:
    """Run one room until SIGTERM; 1 and one line on stderr when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m confide.local")
    parser.add_argument("room", choices=sorted(_ROOMS))
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--pid-file", type=Path, help="proxy only: run as a daemon")
    parser.add_argument("--log-file", type=Path, help="proxy only: rotated log")
    chosen = parser.parse_args(arguments)
    if chosen.pid_file is None:
        stop_when_parent_dies()
    files = {"pid_file": chosen.pid_file, "log_file": chosen.log_file}
    try:
        _ROOMS[chosen.room](chosen.settings, Home(chosen.home), **files)
    except ConfideError as error:
        sys.stderr.write(f"confide: error: {error}\n")
        if error.hint:
            sys.stderr.write(f"confide: hint: {error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
