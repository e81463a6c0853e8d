"""What this machine has that could prove itself: for people, and to refuse pretending.

`confide doctor` shows it. The simulated provider asks it too and refuses to start where there
is hardware, so that nobody serves simulated evidence from a machine that could do better.

Looking changes nothing that stays: the kernel's provider is asked by a request directory that
is removed at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from confide.attest.platforms.azure.collect import read_paravisor
from confide.attest.platforms.azure.tpm import DEVICE as TPM_DEVICE
from confide.attest.platforms.azure.tpm import Tpm
from confide.attest.platforms.nvidia.nvml import NvmlWorker
from confide.attest.platforms.snp.device import DEVICE as SEV_DEVICE
from confide.attest.platforms.tsm import ROOT, SEV_GUEST, TDX_GUEST, TsmClient
from confide.errors import EvidenceError

__all__ = ["TDX_DEVICE", "Found", "Gpus", "Machine"]

TDX_DEVICE: Final = "/dev/tdx_guest"
_NVIDIA_DEVICE: Final = "/dev/nvidiactl"
_PROVIDERS: Final = {SEV_GUEST: "sev-snp", TDX_GUEST: "tdx"}
_LOOK_S: Final = 10.0


@dataclass(frozen=True)
class Found:
    """Something that was looked for.

    Attributes:
        value: What it is, or None if it is not there.
        refusal: Why it cannot be used or was not found; empty if it can.
        hint: One next step, or None.
    """

    value: str | None
    refusal: str = ""
    hint: str | None = None


@dataclass(frozen=True)
class Gpus:
    """What NVIDIA's driver says.

    Attributes:
        count: GPUs it shows.
        confidential: Confidential computing is on.
        developer_tools: DevTools are on.
        production: The environment is production.
    """

    count: int
    confidential: bool
    developer_tools: bool
    production: bool


class Machine:
    """Looks at this machine. Every part can be replaced for tests.

    Args:
        tsm: Asks the kernel's provider.
        tpm: Asks the TPM.
        worker: Makes the process that asks NVIDIA's driver.
        exists: Whether a path is there.
    """

    def __init__(
        self,
        *,
        tsm: TsmClient | None = None,
        tpm: Tpm | None = None,
        worker: Callable[[], NvmlWorker] = lambda: NvmlWorker(timeout_s=_LOOK_S),
        exists: Callable[[str], bool] = os.path.exists,
    ) -> None:
        self._tsm = tsm or TsmClient()
        self._tpm = tpm or Tpm()
        self._worker = worker
        self._exists = exists

    def provider(self) -> Found:
        """The kernel's provider of reports, such as "sev_guest"."""
        if not self._exists(ROOT):
            return Found(None, f"no {ROOT}: no guest of Linux 6.7 or newer, or configfs is missing")
        try:
            return Found(self._tsm.provider())
        except EvidenceError as error:
            return Found(None, str(error), error.hint)

    def devices(self) -> tuple[str, ...]:
        """The device nodes of confidential guests that are there."""
        return tuple(path for path in (SEV_DEVICE, TDX_DEVICE) if self._exists(path))

    def paravisor(self) -> Found:
        """The platform behind Azure's paravisor: "azure-sev-snp" or "azure-tdx"."""
        if not self._exists(TPM_DEVICE):
            return Found(None, f"no {TPM_DEVICE}")
        try:
            return Found(read_paravisor(self._tpm))
        except EvidenceError as error:
            return Found(None, str(error), error.hint)

    def platform(self) -> str | None:
        """What to write into the settings as `platform`, or None."""
        provider = self.provider().value
        if provider in _PROVIDERS:
            return _PROVIDERS[provider]
        if SEV_DEVICE in self.devices():
            return "sev-snp"
        return self.paravisor().value

    def gpus(self) -> Gpus | Found:
        """What NVIDIA's driver says of its GPUs, or why it says nothing."""
        if not self._exists(_NVIDIA_DEVICE):
            return Found(None, "no NVIDIA driver")
        worker = self._worker()
        try:
            state = worker.ask({"ask": "state"})
        except EvidenceError as error:
            return Found(None, str(error), error.hint)
        finally:
            worker.close()
        return _read_gpus(state)

    def hardware(self) -> tuple[str, ...]:
        """Name everything here that makes simulated evidence wrong; empty on a laptop."""
        found = [*self.devices()]
        provider, paravisor, gpus = self.provider(), self.paravisor(), self.gpus()
        if provider.value is not None:
            found.append(f"the provider {provider.value}")
        if paravisor.value is not None:
            found.append(paravisor.value)
        if isinstance(gpus, Gpus) and gpus.confidential:
            found.append("a confidential GPU")
        return tuple(found)


def _read_gpus(state: Mapping[str, object]) -> Gpus | Found:
    if type(state.get("count")) is not int:
        return Found(None, "NVIDIA's driver gave no number of GPUs")
    return Gpus(
        count=cast("int", state["count"]),
        confidential=state.get("cc") == 1,
        developer_tools=state.get("dev_tools") != 0,
        production=state.get("environment") == 2,
    )
