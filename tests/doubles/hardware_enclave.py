"""A real enclave process on a machine that is a double.

    python hardware_enclave.py SETTINGS '{"nvml": {...}, "lost_stores": 1, "gate": "FILE"}'

Everything but the kernel, the driver and the verifier of the GPU's signature is the product's.
With a gate, the kernel answers only once that file is there.
"""

import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(settings, **chosen):
    """The command line of such a process."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    run = "from tests.doubles.hardware_enclave import main; main()"
    return [sys.executable, "-c", start + run, str(settings), json.dumps(chosen)]


class Believing:
    """Stands in for the verifier of GPUs: the double's reports are signed by nobody."""

    type = "nvidia-spdm"
    factors = ()

    def authenticate(self, report, *, aux, endorsements, sheet, at):
        from confide.attest.platform import Authenticated

        return Authenticated(claims={}, report_data=report[4:36], expires_at=at, summary="gpu")


def machine(chosen):
    """The collector of a double machine."""
    from tests.doubles import nvml_library
    from tests.doubles.configfs_tsm import FakeTsm

    from confide.attest.platforms.hardware import HardwareCollector
    from confide.attest.platforms.nvidia.collect import NvidiaCollector
    from confide.attest.platforms.nvidia.nvml import NvmlWorker
    from confide.attest.platforms.snp.collect import SnpCollector
    from confide.attest.platforms.snp.device import GuestDevice
    from confide.attest.platforms.tsm import TsmClient

    files = FakeTsm(chosen.get("provider", "sev_guest"))
    files.lost_stores = chosen.get("lost_stores", 0)
    for number in chosen.get("errno", []):
        files.faults["read", "outblob"].append(number)
    gate = chosen.get("gate")

    def wait(*_):
        while gate and not os.path.exists(gate):
            time.sleep(0.01)

    files.before = wait
    cpu = SnpCollector(
        TsmClient(files, pause=lambda _: None), device=GuestDevice("/nonexistent/sev-guest")
    )
    if "nvml" not in chosen:
        return HardwareCollector(cpu)
    worker = NvmlWorker(nvml_library.command(**chosen["nvml"]), timeout_s=5)
    return HardwareCollector(cpu, gpus=NvidiaCollector(1, worker=worker), gpu_verifier=Believing())


def main():
    from confide.apps.enclave import serve_enclave
    from confide.errors import ConfideError

    try:
        serve_enclave(Path(sys.argv[1]), collector=machine(json.loads(sys.argv[2])))
    except ConfideError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
