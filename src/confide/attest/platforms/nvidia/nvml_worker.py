"""The child process that talks to NVIDIA's driver: one JSON line in, one JSON line out.

It is a process of its own because a driver call can hang for good or take the process down.
Nothing is decided here: numbers are passed on as the driver gave them.

    {"ask": "state"}                -> {"count": 1, "environment": 2, "cc": 1, "dev_tools": 0, ...}
    {"ask": "reports", "nonce": ..} -> {"reports": [{"report": <base64>, "chain": <PEM>}]}
    {"ask": "accept"}               -> {"ready": 1}
    whatever fails                  -> {"error": "LibraryNotFound"}

Source: attestation.md section 5.5; nvidia-ml-py 13.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import IO, Any, Final

__all__ = ["NO_BINDING", "main", "serve"]

NO_BINDING: Final = "NoBinding"
"""The error when nvidia-ml-py is not installed."""

_NONCE_LENGTH: Final = 32
_SUCCESS: Final = 0
_ENABLED: Final = 1  # NVML_CC_SYSTEM_FEATURE_ENABLED
_NOT_SUPPORTED: Final = 3
_FUNCTION_NOT_FOUND: Final = 13


class _Driver:
    def __init__(self) -> None:
        import pynvml

        self._nvml: Any = pynvml
        self._nvml.nvmlInit()

    def state(self, _: dict[str, Any]) -> dict[str, object]:
        nvml = self._nvml
        system = nvml.nvmlSystemGetConfComputeState()
        handles = self._handles()
        answer = {
            "count": len(handles),
            "environment": system.environment,
            "cc": system.ccFeature,
            "dev_tools": system.devToolsMode,
        }
        if system.ccFeature != _ENABLED:  # drivers refuse the calls below then
            return answer
        return answer | {
            "settings": self._settings(),
            "ready": nvml.nvmlSystemGetConfComputeGpusReadyState(),
            "protected": [
                nvml.nvmlDeviceGetConfComputeProtectedMemoryUsage(handle).total
                for handle in handles
            ],
        }

    def reports(self, question: dict[str, Any]) -> dict[str, object]:
        nonce = bytes.fromhex(question["nonce"])
        if len(nonce) != _NONCE_LENGTH:  # the binding would pass on whatever it gets
            raise ValueError("the nonce is not 32 bytes")
        return {"reports": [self._report(handle, nonce) for handle in self._handles()]}

    def accept(self, _: dict[str, Any]) -> dict[str, object]:
        nvml = self._nvml
        if nvml.nvmlSystemGetConfComputeGpusReadyState() != 1:
            nvml.nvmlSystemSetConfComputeGpusReadyState(1)
        return {"ready": nvml.nvmlSystemGetConfComputeGpusReadyState()}

    def _handles(self) -> list[Any]:
        nvml = self._nvml
        return [nvml.nvmlDeviceGetHandleByIndex(at) for at in range(nvml.nvmlDeviceGetCount())]

    def _settings(self) -> dict[str, int] | None:
        """Read the settings, or None from a driver without them.

        Unlike all its neighbours this call returns its code instead of raising, and passes
        on what it is given, so it is given a pointer.
        """
        nvml = self._nvml
        settings = nvml.c_nvmlSystemConfComputeSettings_v1_t()
        try:
            code = nvml.nvmlSystemGetConfComputeSettings(ctypes.byref(settings))
        except nvml.NVMLError as error:
            code = error.value
        if code in (_NOT_SUPPORTED, _FUNCTION_NOT_FOUND):
            return None
        if code != _SUCCESS:
            raise nvml.NVMLError(code)
        return {
            "environment": settings.environment,
            "cc": settings.ccFeature,
            "dev_tools": settings.devToolsMode,
            "multi_gpu": settings.multiGpuMode,
        }

    def _report(self, handle: Any, nonce: bytes) -> dict[str, str]:
        answer = self._nvml.nvmlDeviceGetConfComputeGpuAttestationReport(handle, nonce)
        certificate = self._nvml.nvmlDeviceGetConfComputeGpuCertificate(handle)
        report = _used(answer.attestationReport, answer.attestationReportSize)
        chain = _used(certificate.attestationCertChain, certificate.attestationCertChainSize)
        return {
            "report": base64.b64encode(report).decode("ascii"),
            "chain": chain.rstrip(b"\0").decode("ascii"),
        }


def _used(buffer: Any, length: int) -> bytes:
    if not 0 < length <= len(buffer):
        raise ValueError(f"{length} of {len(buffer)} bytes are said to be used")
    return bytes(buffer[:length])


def serve(questions: IO[str], answers: IO[str]) -> None:
    """Answer until the questions end."""
    driver: _Driver | None = None
    for line in questions:
        try:
            driver = driver or _Driver()
            question = json.loads(line)
            handlers: dict[str, Callable[[dict[str, Any]], dict[str, object]]] = {
                "state": driver.state,
                "reports": driver.reports,
                "accept": driver.accept,
            }
            answer = handlers[question["ask"]](question)
        except ModuleNotFoundError:
            answer = {"error": NO_BINDING}
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent shall hear of it
            answer = {"error": _name(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _name(error: Exception) -> str:
    # NVMLError_LibraryNotFound and the like are made by the binding; a number otherwise.
    name = type(error).__name__
    return name.removeprefix("NVMLError_") if name != "NVMLError" else f"code {error}"


def main() -> None:
    """Serve on the standard streams; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
