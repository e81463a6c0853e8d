"""Run the child process that talks to NVIDIA's driver; end it when it hangs.

Source: attestation.md section 5.5.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from confide.attest.platforms.nvidia.nvml_worker import NO_BINDING
from confide.errors import EvidenceError

__all__ = ["NvmlWorker"]

_TIMEOUT_S: Final = 30.0
_ATTEMPTS: Final = 2
_MAX_ANSWER: Final = 2 * 1024 * 1024
# -I: neither the environment nor the working directory adds code to a measured program.
_COMMAND: Final = (sys.executable, "-I", "-m", "confide.attest.platforms.nvidia.nvml_worker")


class NvmlWorker:
    """Asks one question at a time. Safe for use by several threads.

    A worker that hangs or dies is ended and a new one asked once more.

    Args:
        command: Starts the worker.
        timeout_s: Longest wait for one answer.
    """

    def __init__(self, command: Sequence[str] = _COMMAND, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Mapping[str, object]) -> Mapping[str, object]:
        """Return the worker's answer.

        Raises:
            EvidenceError: nv.driver (the driver refused, or there is none) or nv.worker (it
                hung or died twice).
        """
        line = json.dumps(question).encode("ascii") + b"\n"
        with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    answer = json.loads(self._exchange(line))
                except (OSError, ValueError):
                    self._end()
                    continue
                if isinstance(answer, dict):
                    return _checked(answer)
                self._end()
        raise EvidenceError(
            f"NVIDIA's driver did not answer {_ATTEMPTS} times within {self._timeout_s:g} s",
            code="nv.worker",
            hint="nvidia-smi conf-compute -f shows whether the driver answers at all",
        )

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._end()

    def _exchange(self, line: bytes) -> bytes:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:  # never: both are pipes
            raise OSError
        stdin.write(line)
        stdin.flush()
        answer = bytearray()
        deadline = time.monotonic() + self._timeout_s
        while not answer.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([stdout], [], [], max(0.0, left))
            block = os.read(stdout.fileno(), 64 * 1024) if ready else b""
            if not block or len(answer) > _MAX_ANSWER:
                raise OSError
            answer += block
        return bytes(answer)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()


def _checked(answer: dict[str, object]) -> Mapping[str, object]:
    error = answer.get("error")
    if error is None:
        return answer
    if error == NO_BINDING:
        raise EvidenceError(
            "NVIDIA's driver cannot be asked: nvidia-ml-py is not installed",
            code="nv.driver",
            hint="pip install 'confide[nvidia]'",
        )
    raise EvidenceError(
        f"NVIDIA's driver refused: {str(error)[:80]}",
        code="nv.driver",
        hint="nvidia-smi conf-compute -f shows the state; set gpus = 0 for an enclave without",
    )
