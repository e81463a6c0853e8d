"""GPUs are reported only if the driver says that nobody else can read them."""

import json

import pytest
from tests.doubles.nvml_library import command

from confide.attest.platforms.nvidia.collect import NvidiaCollector, gpu_statement
from confide.attest.platforms.nvidia.nvml import NvmlWorker
from confide.errors import EvidenceError

NONCE = bytes(range(32))


@pytest.fixture
def collector():
    """Make collectors whose driver is as chosen; end their workers afterwards."""
    workers = []

    def make(count=1, *, mode="SPT", timeout_s=20.0, **driver):
        worker = NvmlWorker(command(**{"gpus": count, **driver}), timeout_s=timeout_s)
        workers.append(worker)
        return NvidiaCollector(count, mode=mode, worker=worker)

    yield make
    for worker in workers:
        worker.close()


def test_every_gpu_answers_our_nonce_with_its_own_chain(collector):
    found = collector(3).reports(NONCE)
    assert [gpu.type for gpu in found] == ["nvidia-spdm"] * 3
    assert all(gpu.report[4:36] == NONCE for gpu in found)
    assert len({gpu.chain for gpu in found}) == 3
    assert all(gpu.chain.endswith("-----END CERTIFICATE-----\n") for gpu in found)


@pytest.mark.parametrize(
    ("driver", "code"),
    [
        ({"cc": 0}, "nv.confidential"),
        ({"cc": 2}, "nv.confidential"),
        ({"settings_cc": 0}, "nv.confidential"),
        ({"protected": 0}, "nv.confidential"),
        ({"dev_tools": 1}, "nv.developer_tools"),
        ({"environment": 1}, "nv.environment"),
        ({"environment": 0}, "nv.environment"),
        ({"gpus": 2}, "nv.count"),
        ({"gpus": 0}, "nv.count"),
        ({"multi_gpu": 1}, "nv.mode"),
        ({"multi_gpu": 2}, "nv.mode"),
        ({"multi_gpu": 77}, "nv.mode"),
        ({"nonce": "00" * 32}, "nv.nonce_mismatch"),
        ({"report_size": 40}, "nv.truncated"),
        ({"report_size": 0}, "nv.driver"),
        ({"report_size": 9000}, "nv.driver"),
        ({"settings_code": 999}, "nv.driver"),
        ({"without": ["nvmlSystemGetConfComputeState"]}, "nv.driver"),
        ({"without": ["nvmlDeviceGetConfComputeGpuAttestationReport"]}, "nv.driver"),
        ({"crash": "nvmlDeviceGetConfComputeGpuAttestationReport"}, "nv.worker"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value,
)
def test_a_gpu_that_is_not_as_stated_is_refused(collector, driver, code):
    with pytest.raises(EvidenceError) as caught:
        collector(1, **driver).reports(NONCE)
    assert caught.value.code == code


def test_one_device_listed_twice_is_refused(collector):
    with pytest.raises(EvidenceError) as caught:
        collector(2, one_device=True).reports(NONCE)
    assert caught.value.code == "nv.duplicate_device"


def test_several_gpus_with_encrypted_links_are_their_own_mode(collector):
    assert len(collector(2, mode="MPT", multi_gpu=2).reports(NONCE)) == 2


@pytest.mark.parametrize(
    "driver", [{"settings_code": 3}, {"without": ["nvmlSystemGetConfComputeSettings"]}]
)
def test_an_older_driver_knows_one_mode_only(collector, driver):
    assert len(collector(1, **driver).reports(NONCE)) == 1
    with pytest.raises(EvidenceError) as caught:
        collector(2, **driver).reports(NONCE)
    assert caught.value.code == "nv.mode"


def test_a_driver_that_hangs_is_given_up(collector):
    hanging = collector(1, timeout_s=1.0, hang="nvmlSystemGetConfComputeState")
    with pytest.raises(EvidenceError) as caught:
        hanging.reports(NONCE)
    assert caught.value.code == "nv.worker"


def test_a_worker_that_died_is_replaced(collector, tmp_path):
    (tmp_path / "crash").touch()
    assert len(collector(1, crash_once=str(tmp_path / "crash")).reports(NONCE)) == 1
    assert not (tmp_path / "crash").exists()


def test_what_the_driver_prints_is_not_taken_for_an_answer(collector):
    assert len(collector(1, chatter=True).reports(NONCE)) == 1


def test_accepting_sets_the_ready_state_once(collector, tmp_path):
    accepting = collector(1, ready_file=str(tmp_path / "ready"))
    accepting.accept()
    accepting.accept()  # the double refuses to set it twice
    assert (tmp_path / "ready").exists()


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_nonce_of_another_length_never_reaches_the_binding(collector, length):
    with pytest.raises(ValueError):
        collector().reports(bytes(length))


@pytest.mark.parametrize(("count", "mode"), [(0, "SPT"), (8, "PPCIE"), (1, "unknown")])
def test_what_cannot_be_collected_is_said_at_once(count, mode):
    with pytest.raises(ValueError):
        NvidiaCollector(count, mode=mode)


def test_without_a_driver_the_refusal_says_so():
    worker = NvmlWorker()  # this machine's own driver, or none
    with pytest.raises(EvidenceError) as caught:
        NvidiaCollector(999, worker=worker).reports(NONCE)
    worker.close()
    assert caught.value.code in ("nv.driver", "nv.count")


def test_the_statement_says_what_is_checked(collector):
    assert collector(2, mode="MPT").statement == gpu_statement(2, "MPT")
    assert gpu_statement(1) == {
        "confidential": True,
        "developer_tools": False,
        "environment": "production",
        "count": 1,
        "mode": "SPT",
    }
