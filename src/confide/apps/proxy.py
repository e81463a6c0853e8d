"""Build the proxy from settings, and serve it.

`confide proxy run` passes the verifier of a policy file; `confide.local`, which this package
cannot import, passes the one that accepts this machine's simulated evidence.
"""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from starlette.types import ASGIApp

from confide.apps.client_kek import ready_kek
from confide.apps.endpoints import look_up
from confide.apps.policies import verifier_of
from confide.apps.serving import MAX_HEAD, BoundedProtocol, listen, serve
from confide.attest.results import EnclaveVerifier
from confide.attest.verifier import Verifier
from confide.client.transport import AsyncEncryptedTransport
from confide.config.proxy import ProxySettings
from confide.daemon.presence import STARTING, Presence
from confide.errors import ConfigError, GatewayError
from confide.proxy.answers import Dialect, error_answer
from confide.proxy.app import build_app
from confide.proxy.compat import Compat, dialect_of
from confide.proxy.ports import holder_of
from confide.telemetry import logs
from confide.telemetry.rotation import RotatingFile

__all__ = ["Surroundings", "build_proxy", "policy_verifier", "serve_proxy"]

_MAX_KEY_FILE = 4096  # bytes


@dataclass(frozen=True)
class Surroundings:
    """What belongs to one process and not to its settings.

    Attributes:
        home: Data directory, for the client KEK and pinned endpoints.
        pid_file: Claimed while the proxy runs; None for none.
        log_file: Where events go, rotated by size; None is standard error.
    """

    home: Path
    pid_file: Path | None = None
    log_file: Path | None = None


def build_proxy(settings: ProxySettings, *, verifier: EnclaveVerifier) -> ASGIApp:
    """Wire the proxy.

    Args:
        settings: The settings, with the gateway's URL.
        verifier: Decides which enclaves are good enough.

    Raises:
        ConfigError: A URL or the API key is not usable.
    """
    if settings.gateway_url is None:
        raise ConfigError("the gateway's URL is not known")
    transport = AsyncEncryptedTransport(
        settings.gateway_url,
        api_key=_api_key(settings),
        verifier=verifier,
        enclave=settings.enclave_url,
    )
    return build_app(
        transport,
        port=settings.port,
        body_limit=settings.json_body_limit,
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
        compat=settings.compat,
    )


def policy_verifier(settings: ProxySettings) -> Verifier:
    """Make the verifier of the policy file that the settings name.

    Raises:
        ConfigError: No file is named, or it is not usable. There is no default policy.
    """
    return verifier_of(
        settings.policy_file,
        endorsements=settings.endorsements,
        bundles=settings.endorsement_files,
        who="proxy",
        hint="confide proxy run --policy FILE; to try confide on this machine: confide up",
    )


def serve_proxy(
    settings: ProxySettings, *, verifier: EnclaveVerifier, surroundings: Surroundings
) -> None:
    """Serve until a stop signal.

    Raises:
        ConfideError: The address is taken, another proxy holds the PID file, a setting is not
            usable, or the endpoints cannot be looked up.
    """
    logs.configure(settings.log_level, _log_stream(surroundings.log_file))
    presence = _presence(settings, surroundings)
    try:
        ready_kek(settings, surroundings.home)
        settings = look_up(settings, surroundings.home)
        listener = _listen(settings)
        with listener:
            settings = settings.model_copy(update={"port": listener.getsockname()[1]})
            app = build_proxy(settings, verifier=verifier)
            if presence:
                presence.note(STARTING, port=settings.port)
            serve(
                app,
                listener,
                drain_s=settings.shutdown_timeout_s,
                startup_error=lambda: None,
                protocol=ProxyProtocol.speaking(settings.compat),
                watcher=presence,
            )
    finally:
        if presence:
            presence.ended()


def _presence(settings: ProxySettings, surroundings: Surroundings) -> Presence | None:
    if surroundings.pid_file is None:
        return None
    return Presence.claim(
        surroundings.pid_file,
        compat=settings.compat,  # who starts a program beside it must know what it speaks
        host=settings.host,
        own_key=settings.api_key is not None or settings.api_key_file is not None,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        log_file=None if surroundings.log_file is None else str(surroundings.log_file),
        started_at=round(time.time()),  # noqa: TID251 - composition root
        version=version("confide"),
    )


def _log_stream(path: Path | None) -> logs.LineStream:
    if path is None:
        return sys.stderr
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return RotatingFile(path)
    except OSError as error:
        raise ConfigError(f"cannot write the log file {path}: {error.strerror}") from error


def _listen(settings: ProxySettings) -> socket.socket:
    try:
        return listen(settings.host, settings.port)
    except ConfigError as error:
        raise _explained(error, settings) from error


class ProxyProtocol(BoundedProtocol):
    """Refuses a head that is too long in the caller's dialect, so that SDKs can show it.

    Attributes:
        compat: Which dialects are spoken where.
    """

    compat: ClassVar[Compat] = "openai"
    _refused = False

    @classmethod
    def speaking(cls, compat: Compat) -> type[ProxyProtocol]:
        """The protocol of a proxy that speaks these dialects."""
        return type(cls.__name__, (cls,), {"compat": compat})

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; after a refusal, drop it."""
        if not self._refused:
            super().data_received(data)

    def _dialect(self) -> Dialect:
        """The dialect that path and headers speak, as far as they were parsed."""
        path = getattr(self, "url", b"").partition(b"?")[0].decode("latin-1")
        # uvicorn keeps the names in lower case.
        return dialect_of({"path": path, "headers": getattr(self, "headers", [])}, self.compat)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - we have our own words
        """Refuse what cannot be parsed, and wait a moment for the caller to read it."""
        if self._lines_length > MAX_HEAD:
            error = GatewayError("the headers are too long", status=431, code="headers-too-large")
        else:
            error = GatewayError("this is not HTTP", status=400, code="malformed-request")
        answer = error_answer(error, self._dialect())
        head = f"HTTP/1.1 {answer.status} Refused\r\nconnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        head += f"content-length: {len(answer.body)}\r\n\r\n"
        self.transport.write(head.encode("latin-1") + answer.body)
        # Closing while bytes are still coming in would reset the connection and destroy the
        # answer before it is read.
        self._refused = True
        self.loop.call_later(1.0, self.transport.close)


def _explained(error: ConfigError, settings: ProxySettings) -> ConfigError:
    pid = holder_of(settings.host, settings.port)
    if pid is None:
        return error
    return ConfigError(
        f"something already listens on {settings.host}:{settings.port} (pid {pid})",
        hint="stop it, or choose another port: --port PORT",
    )


def _api_key(settings: ProxySettings) -> str | None:
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value().strip()
        if not key:
            raise ConfigError("the API key is empty")
        return key
    return None if settings.api_key_file is None else _read_key(settings.api_key_file)


def _read_key(path: Path) -> str:
    try:
        with path.open() as file:
            key = file.read(_MAX_KEY_FILE).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the API key file {path}",
            hint="point api_key_file at a file with the key that this user may read",
        ) from error
    if not key:
        raise ConfigError(
            f"the API key file {path} is empty", hint=f"write the gateway's API key into {path}"
        )
    return key
