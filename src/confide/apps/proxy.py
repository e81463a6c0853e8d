"""Build the proxy from settings, and serve it.

`confide proxy run` passes the verifier of a policy file; `confide.local`, which this package
cannot import, passes the one that accepts this machine's simulated evidence.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp

from confide.apps.serving import MAX_HEAD, BoundedProtocol, listen, serve
from confide.attest.policy_file import read_policy
from confide.attest.results import EnclaveVerifier
from confide.attest.verifier import Verifier
from confide.client.transport import AsyncEncryptedTransport
from confide.config.proxy import ProxySettings
from confide.dialects.error_bodies import openai_error
from confide.errors import ConfigError, GatewayError
from confide.proxy.app import build_app
from confide.proxy.ports import holder_of
from confide.telemetry import logs

__all__ = ["build_proxy", "policy_verifier", "serve_proxy"]

_MAX_KEY_FILE = 4096  # bytes


def build_proxy(settings: ProxySettings, *, verifier: EnclaveVerifier) -> ASGIApp:
    """Wire the proxy.

    Args:
        settings: The settings.
        verifier: Decides which enclaves are good enough.

    Raises:
        ConfigError: The gateway's URL or the API key file is not usable.
    """
    key = None if settings.api_key_file is None else _read_key(settings.api_key_file)
    transport = AsyncEncryptedTransport(settings.gateway_url, api_key=key, verifier=verifier)
    return build_app(
        transport,
        port=settings.port,
        body_limit=settings.json_body_limit,
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
        compat=settings.compat,
    )


def policy_verifier(settings: ProxySettings) -> EnclaveVerifier:
    """Make the verifier of the policy file that the settings name.

    Raises:
        ConfigError: No file is named, or it is not usable. There is no default policy.
    """
    if settings.policy_file is None:
        raise ConfigError(
            "no appraisal policy: the proxy does not know which enclaves are good enough",
            hint="confide proxy run --policy FILE; to try confide on this machine: confide up",
        )
    at = datetime.now(UTC)  # noqa: TID251 - composition root
    return Verifier(read_policy(settings.policy_file, at=at))


def serve_proxy(settings: ProxySettings, *, verifier: EnclaveVerifier) -> None:
    """Serve until a stop signal.

    Raises:
        ConfigError: The address is taken, or a setting is not usable.
    """
    logs.configure(settings.log_level, sys.stderr)
    app = build_proxy(settings, verifier=verifier)
    try:
        listener = listen(settings.host, settings.port)
    except ConfigError as error:
        raise _explained(error, settings) from error
    serve(
        app,
        listener,
        drain_s=settings.shutdown_timeout_s,
        startup_error=lambda: None,
        protocol=ProxyProtocol,
    )


class ProxyProtocol(BoundedProtocol):
    """Refuses a request head that is too long in OpenAI's shape, so that SDKs can show it."""

    _refused = False

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; after a refusal, drop it."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - we have our own words
        """Refuse what cannot be parsed, and wait a moment for the caller to read it."""
        if self._lines_length > MAX_HEAD:
            error = GatewayError("the headers are too long", status=431, code="headers-too-large")
        else:
            error = GatewayError("this is not HTTP", status=400, code="malformed-request")
        answer = openai_error(error, origin="proxy")
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
