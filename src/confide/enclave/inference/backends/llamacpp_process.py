"""Keep the embedded engine's process alive, and know when it can be asked.

The engine runs native code on untrusted input; as a child process its crash costs the
requests in flight and nothing else, and its memory goes when it goes. It is started again
after a pause that doubles up to a limit, so that a model that crashes at once does not spin.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from confide.enclave.inference.backend import BackendUnavailable
from confide.errors import ConfigError
from confide.telemetry.logs import event

__all__ = ["EngineProcess", "EngineSettings"]

_MODULE: Final = "confide.enclave.inference.backends.llamacpp_child"
#: `sun_path` of a Unix socket address is 108 bytes with its final zero (unix(7)).
_MAX_SOCKET_PATH: Final = 107
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
#: A process that lived this long starts over with the shortest pause.
_SETTLED_S: Final = 60.0


@dataclass(frozen=True)
class EngineSettings:
    """What the engine is started with.

    Attributes:
        model_path: GGUF file.
        alias: Model name in answers.
        context_length: Tokens of prompt and answer of one request.
        n_parallel: Requests served at the same time.
        threads: Threads that compute.
        gpu_layers: Layers to put on a GPU; -1 all.
        embeddings: Also make embeddings.
        pooled: The file says how to pool token vectors.
    """

    model_path: str
    alias: str
    context_length: int
    n_parallel: int
    threads: int
    gpu_layers: int
    embeddings: bool
    pooled: bool


class _StartFailed(Exception):
    """The process ended, or said that it cannot serve."""


class EngineProcess:
    """One supervised engine.

    Args:
        name: The backend's name, for log lines and errors.
        settings: What to start.
        startup_timeout_s: Seconds the engine may take to load the model.
        stop_timeout_s: Seconds between SIGTERM and SIGKILL.
        sleep: Waits before a restart; replaced in tests.

    Attributes:
        api_key: Secret that the engine asks for; new in every process of the enclave.
        socket_path: Where the engine listens, in a directory of mode 0700.
        restarts: How often it was started again.
    """

    def __init__(
        self,
        name: str,
        settings: EngineSettings,
        *,
        startup_timeout_s: float = 300.0,
        stop_timeout_s: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._settings = settings
        self._startup_timeout_s = startup_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._sleep = sleep
        self._directory = Path(tempfile.mkdtemp(prefix="confide-engine-"))  # mode 0700
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.api_key = secrets.token_hex(32)
        self.socket_path = self._directory / "engine.sock"
        self.restarts = 0

    def __repr__(self) -> str:
        return f"EngineProcess({self._name!r}, pid={self.pid})"

    @property
    def pid(self) -> int | None:
        """Process id, or None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the engine and wait until it serves.

        Raises:
            ConfigError: It cannot load the model; names the file.
        """
        if len(os.fsencode(self.socket_path)) > _MAX_SOCKET_PATH:
            await self.stop()
            raise ConfigError(
                f"backend {self._name!r}: {self.socket_path} is too long for a socket",
                hint="set TMPDIR to a shorter path",
            )
        try:
            await self._spawn()
        except _StartFailed as error:
            await self.stop()
            raise ConfigError(
                f"backend {self._name!r}: model file {self._settings.model_path}: {error}",
                hint="the file may be cut, or of a kind this llama.cpp does not know",
            ) from None
        except BaseException:
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="confide-engine")

    async def stop(self) -> None:
        """End the process: SIGTERM, then SIGKILL. Safe to call twice."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
            self._supervisor = None
        await self._end_process()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the engine serves.

        Raises:
            BackendUnavailable: It does not, in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise BackendUnavailable("the embedded engine is restarting") from None

    async def _spawn(self) -> None:
        """Start one process and wait for its report.

        Raises:
            _StartFailed: With the reason it gave.
        """
        # A socket left behind by a crash would keep the next engine from listening.
        self.socket_path.unlink(missing_ok=True)
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", _MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            # Nothing of our environment: it may hold secrets, and it configures native code.
            env={"LANG": "C.UTF-8", "PATH": os.defpath},
            # Ctrl-C goes to us; we stop the engine after its last answer.
            start_new_session=True,
        )  # fmt: skip
        settings = {
            **asdict(self._settings),
            "parent": os.getpid(),
            "socket_path": str(self.socket_path),
            "api_key": self.api_key,
        }
        try:
            async with asyncio.timeout(self._startup_timeout_s):
                report = await self._exchange(process, json.dumps(settings).encode() + b"\n")
        except TimeoutError:
            await self._end_process()
            raise _StartFailed("the engine took too long to load the model") from None
        if report.get("state") != "ready":
            await self._end_process()
            raise _StartFailed(report.get("reason") or "the engine ended while loading the model")
        self._ready.set()

    async def _exchange(self, process: asyncio.subprocess.Process, line: bytes) -> dict[str, str]:
        """Send the settings, return the report; empty if the process just ended."""
        if process.stdin is None or process.stdout is None:
            raise _StartFailed("the engine has no pipes")
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            received = await process.stdout.readline()
            report = json.loads(received) if received else {}
        except (ConnectionError, ValueError):
            return {}
        return report if isinstance(report, dict) else {}

    async def _end_process(self) -> None:
        self._ready.clear()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _supervise(self) -> None:
        """Start the engine again whenever it ends."""
        clock = asyncio.get_running_loop().time
        pause = _FIRST_PAUSE_S
        while True:
            started = clock()
            if self._process is not None:
                await self._process.wait()
            self._ready.clear()
            event("engine-ended", level="error", backend=self._name, attempt=self.restarts)
            if clock() - started > _SETTLED_S:
                pause = _FIRST_PAUSE_S
            while not self._ready.is_set():
                await self._sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                self.restarts += 1
                try:
                    await self._spawn()
                except (_StartFailed, OSError) as error:
                    event(
                        "engine-start-failed",
                        level="error",
                        backend=self._name,
                        error=type(error).__name__,
                    )
