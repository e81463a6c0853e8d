"""Gateway, enclave and proxy on loopback, each in its own process.

What `confide up` runs and what the end-to-end tests start. The parts are the real ones;
only the evidence is simulated.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from confide.client.keystore import ensure_kek
from confide.errors import ConfigError
from confide.local.accounts import ensure_api_key
from confide.local.enclave_file import DEMO_MODEL, BackendChoice, demo_model_path, enclave_toml
from confide.local.home import Home, write_private
from confide.local.processes import Child, stop_in_order
from confide.local.readiness import json_of, refuse_occupied
from confide.local.simulated import ensure_root

__all__ = ["Stack", "StackOptions"]

_READY_S = 60.0  # a large GGUF on a slow disk


def _demo_backend() -> tuple[BackendChoice, ...]:
    options = {"model_path": str(demo_model_path())}
    return (BackendChoice("llamacpp", (DEMO_MODEL,), options, {"type": "chat"}),)


@dataclass(frozen=True)
class StackOptions:
    """What to start.

    Attributes:
        proxy_port: The port users see.
        gateway_port: Loopback port of the gateway.
        enclave_ports: One loopback port per enclave; more than one makes replicas.
        backends: Backends of every enclave. Default: the embedded demo model.
        padding: `[padding]` table of the enclave's settings.
        enclave: Further keys of its `[enclave]` table.
        gateway: Further gateway settings.
        proxy: Further proxy settings.
    """

    proxy_port: int = 8000
    gateway_port: int = 8001
    enclave_ports: tuple[int, ...] = (8002,)
    backends: tuple[BackendChoice, ...] = field(default_factory=_demo_backend)
    padding: dict[str, object] = field(default_factory=dict)
    enclave: dict[str, object] = field(default_factory=dict)
    gateway: dict[str, object] = field(default_factory=dict)
    proxy: dict[str, object] = field(default_factory=dict)


class Stack:
    """A running local stack. Use as a context manager, or call `start` and `stop`."""

    def __init__(self, home: Home, options: StackOptions) -> None:
        self.home = home
        self.options = options
        self.children: dict[str, Child] = {}
        self._lock: IO[str] | None = None

    @property
    def proxy_url(self) -> str:
        """Base URL of the local proxy, without /v1."""
        return f"http://127.0.0.1:{self.options.proxy_port}"

    @property
    def gateway_url(self) -> str:
        """Base URL of the gateway."""
        return f"http://127.0.0.1:{self.options.gateway_port}"

    @property
    def api_key(self) -> str:
        """The API key of this machine's user."""
        return self.home.api_key.read_text().strip()

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Prepare the data directory, start the rooms back to front, wait until they answer.

        Args:
            tell: Called with one line per step.

        Raises:
            ConfigError: Something is in the way; whatever was started is stopped again.
        """
        self._refuse_occupied_ports()
        self.home.prepare()  # the lock lies in it
        self._take_lock()
        try:
            self.prepare()
            # All at once: most of a start is importing, and the rooms wait for each other.
            enclaves = range(len(self.options.enclave_ports))
            for name in (*(f"enclave-{n}" for n in enclaves), "gateway", "proxy"):
                self._launch(name)
            for number in enclaves:
                self._await_enclave(number)
                tell(f"enclave   127.0.0.1:{self.options.enclave_ports[number]}  (simulated)")
            self._await_gateway()
            tell(f"gateway   127.0.0.1:{self.options.gateway_port}")
            self._await_proxy()
            tell(f"proxy     127.0.0.1:{self.options.proxy_port}")
        except BaseException:
            self.stop()
            raise

    def stop(self, *, within_s: float = 4.5) -> list[str]:
        """Stop the rooms, proxy first, so that open streams can end.

        Returns:
            Names of rooms that had to be killed.
        """
        rooms = ("proxy", "gateway", "enclave")
        order = sorted(self.children, key=lambda name: rooms.index(name.partition("-")[0]))
        killed = stop_in_order([self.children[name] for name in order], within_s=within_s)
        for name in order:
            (self.home.run / f"{name}.pid").unlink(missing_ok=True)
        self.children.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        return killed

    def start_enclave(self, number: int = 0) -> None:
        """Start (or restart) one enclave and wait until it is healthy."""
        self._launch(f"enclave-{number}")
        self._await_enclave(number)

    def start_gateway(self) -> None:
        """Start (or restart) the gateway and wait until it knows every enclave."""
        self._launch("gateway")
        self._await_gateway()

    def _launch(self, name: str) -> None:
        """Start the process of a room; one that runs under this name is ended first."""
        room, _, number = name.partition("-")
        settings = self.home.run / f"{room}.json"
        if room == "enclave":
            settings = self._enclave_file(int(number))
        if replaced := self.children.pop(name, None):
            replaced.kill()
        arguments = [room, "--settings", str(settings), "--home", str(self.home.path)]
        self.children[name] = child = Child.start(room, arguments, self.home.log(name))
        write_private(self.home.run / f"{name}.pid", f"{child.process.pid}\n".encode())

    def _await_enclave(self, number: int) -> None:
        port = self.options.enclave_ports[number]
        self.children[f"enclave-{number}"].wait_until(
            lambda: json_of(port, "/healthz") is not None, timeout_s=_READY_S
        )

    def _await_gateway(self) -> None:
        wanted = len(self.options.enclave_ports)

        def knows_all() -> bool:
            found = json_of(self.options.gateway_port, "/.well-known/confide/keys") or {}
            replicas = found.get("replicas")
            return isinstance(replicas, list) and len(replicas) >= wanted

        self.children["gateway"].wait_until(knows_all, timeout_s=_READY_S)

    def _await_proxy(self) -> None:
        port = self.options.proxy_port
        self.children["proxy"].wait_until(
            lambda: json_of(port, "/") is not None, timeout_s=_READY_S
        )

    def _refuse_occupied_ports(self) -> None:
        ports = (
            self.options.proxy_port,
            self.options.gateway_port,
            *self.options.enclave_ports,
        )
        if len(set(ports)) < len(ports):
            raise ConfigError(
                f"every room needs a port of its own, not {', '.join(map(str, ports))}",
                hint="confide up --port PORT --gateway-port PORT --enclave-port PORT",
            )
        refuse_occupied("proxy", self.options.proxy_port, "--port")
        refuse_occupied("gateway", self.options.gateway_port, "--gateway-port")
        for port in self.options.enclave_ports:
            refuse_occupied("enclave", port, "--enclave-port")

    def _take_lock(self) -> None:
        path = self.home.run / "lock"
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            lock.close()
            raise ConfigError(
                f"another local stack uses {self.home.path} (pid {pid})",
                hint="stop it with Ctrl-C, or set CONFIDE_HOME to another directory",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _write_settings(self, room: str, settings: dict[str, object]) -> None:
        write_private(self.home.run / f"{room}.json", json.dumps(settings, indent=1).encode())

    def _enclave_file(self, number: int) -> Path:
        if number == 0:
            return self.home.enclave_settings
        return self.home.enclave_settings.with_name(f"enclave-{number}.toml")

    def _gateway_settings(self) -> dict[str, object]:
        folder = self.home.gateway
        return {
            "host": "127.0.0.1",
            "port": self.options.gateway_port,
            "database": str(folder / "gateway.db"),
            "grant_key_file": str(folder / "grant.key"),
            "pepper_file": str(folder / "pepper"),
            "enclaves": [f"http://127.0.0.1:{port}" for port in self.options.enclave_ports],
            "shutdown_timeout_s": 1,  # the proxy, which is stopped first, has drained by then
            "evidence_per_minute": 600,  # all callers share this machine's address
            "poll_s": 0.5,  # on one machine nobody minds, and a restarted enclave is back at once
            **self.options.gateway,
        }

    def _proxy_settings(self) -> dict[str, object]:
        return {
            "host": "127.0.0.1",
            "port": self.options.proxy_port,
            "gateway_url": self.gateway_url,
            "compat": "auto",  # one base URL for any client, see client.env
            "api_key_file": str(self.home.api_key),
            "shutdown_timeout_s": 3,  # Ctrl-C stops all rooms within 5 s
            **self.options.proxy,
        }

    def prepare(self) -> None:
        """First run: root, KEK, gateway store, API key. Every run: settings and client.env."""
        self.home.prepare()
        ensure_root(self.home)
        ensure_kek(self.home.kek)
        public_key = self._prepare_gateway()
        for number, port in enumerate(self.options.enclave_ports):
            text = enclave_toml(
                host="127.0.0.1",
                port=port,
                gateway_public_key=public_key,
                backends=self.options.backends,
                padding=self.options.padding,
                extra=self.options.enclave,
            )
            write_private(self._enclave_file(number), text.encode())
        self._write_settings("gateway", self._gateway_settings())
        self._write_settings("proxy", self._proxy_settings())
        key = self.api_key
        write_private(
            self.home.client_env,
            (
                f"export OPENAI_BASE_URL={self.proxy_url}/v1\n"
                f"export OPENAI_API_KEY={key}\n"
                f"export ANTHROPIC_BASE_URL={self.proxy_url}\n"
                f"export ANTHROPIC_AUTH_TOKEN={key}\n"
            ).encode(),
        )

    def _prepare_gateway(self) -> str:
        """Make the gateway's store and this user's API key; return the grant public key."""
        from confide.config.gateway import GatewaySettings
        from confide.gateway.setup import prepare

        settings = GatewaySettings.model_validate(self._gateway_settings())
        state = prepare(settings)
        ensure_api_key(self.home.api_key, settings.database, state.pepper)
        return state.grant_public_key
