"""What a machine has is found without changing it."""

import errno

import pytest
from tests.doubles.configfs_tsm import FakeTsm, failure
from tests.doubles.nvml_library import command

from confide.attest.platforms.azure.tpm import Tpm
from confide.attest.platforms.machine import Gpus, Machine
from confide.attest.platforms.nvidia.nvml import NvmlWorker
from confide.attest.platforms.tsm import ROOT, TsmClient


def machine(*paths, provider=None, files=None, **driver):
    def no_tpm(_):
        raise failure(errno.ENOENT)

    return Machine(
        tsm=TsmClient(files or FakeTsm(provider), pause=lambda _: None),
        tpm=Tpm(no_tpm, pause=lambda _: None),
        worker=lambda: NvmlWorker(command(**driver), timeout_s=20),
        exists=lambda path: path in paths,
    )


def test_a_laptop_has_nothing():
    laptop = machine()
    assert laptop.hardware() == ()
    assert laptop.platform() is None
    assert laptop.provider().value is None
    assert laptop.paravisor().refusal
    assert laptop.gpus().value is None


@pytest.mark.parametrize(
    ("provider", "platform"), [("sev_guest", "sev-snp"), ("tdx_guest", "tdx"), ("other", None)]
)
def test_the_kernels_provider_names_the_platform(provider, platform):
    files = FakeTsm(provider)
    found = machine(ROOT, files=files)
    assert found.platform() == platform
    assert found.hardware() == (f"the provider {provider}",)
    assert files.folders == {}


def test_a_kernel_without_configfs_has_the_device_node():
    found = machine("/dev/sev-guest")
    assert found.platform() == "sev-snp"
    assert found.hardware() == ("/dev/sev-guest",)


def test_a_provider_that_may_not_be_asked_is_still_hardware():
    files = FakeTsm("tdx_guest")
    files.faults["mkdir", ""] = [errno.EACCES] * 10
    found = machine(ROOT, "/dev/tdx_guest", files=files)
    assert found.provider().hint
    assert found.hardware() == ("/dev/tdx_guest",)


def test_a_tpm_without_paravisor_is_an_ordinary_machine():
    assert machine("/dev/tpmrm0").hardware() == ()


def test_the_driver_says_whether_a_gpu_is_confidential():
    on = machine("/dev/nvidiactl", gpus=2)
    assert on.gpus() == Gpus(2, confidential=True, developer_tools=False, production=True)
    assert on.hardware() == ("a confidential GPU",)
    off = machine("/dev/nvidiactl", cc=0, without=["nvmlSystemGetConfComputeGpusReadyState"])
    assert off.gpus().confidential is False
    assert off.hardware() == ()


def test_a_driver_that_does_not_answer_is_not_confidential():
    broken = machine("/dev/nvidiactl", without=["nvmlSystemGetConfComputeState"])
    assert broken.gpus().refusal
    assert broken.hardware() == ()
