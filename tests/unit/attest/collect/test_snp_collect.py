"""An SNP report is collected with what the host supplies, and believed in nothing else."""

import ctypes
import errno
import os
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.configfs_tsm import FakeTsm, failure, snp_report
from tests.doubles.sev_guest import FakeSevGuest

from confide.attest.collector import CollectedReport
from confide.attest.platforms.snp import device as sev
from confide.attest.platforms.snp.collect import SnpCollector, stapled
from confide.attest.platforms.snp.device import GuestDevice
from confide.attest.platforms.tsm import TsmClient
from confide.errors import EvidenceError

DATA = bytes(range(64))
VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK = uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK = uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK = uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
OTHER = uuid.UUID("00000000-1111-2222-3333-444444444444")


def table(entries):
    """Lay out a certificate table as a host does."""
    head, tail, offset = b"", b"", 24 * (len(entries) + 1)
    for guid, content in entries:
        head += struct.pack("<16sII", guid.bytes_le, offset + len(tail), len(content))
        tail += content
    return head + bytes(24) + tail


CERTIFICATES = table([(VCEK, b"vcek"), (ASK, b"ask"), (ARK, b"ark"), (OTHER, b"other")])


def collect(files, device=None, **options):
    device = device or GuestDevice("/nonexistent/sev-guest")
    client = TsmClient(files, pause=lambda _: None)
    return SnpCollector(client, device=device, **options).report(DATA)


def test_the_report_comes_with_the_hosts_certificates():
    collected = collect(FakeTsm(aux=CERTIFICATES))
    assert isinstance(collected, CollectedReport)
    assert collected.report[0x50:0x90] == DATA
    assert collected.collateral["snp"]["vek"] == (b"vcek",)
    chain = collected.collateral["snp"]["chain"][0]
    assert chain.count(b"-----BEGIN CERTIFICATE-----") == 2
    assert chain.index(b"YXNr") < chain.index(b"YXJr")  # ASK, then ARK


def test_a_host_without_certificates_is_no_obstacle():
    assert collect(FakeTsm()).collateral == {}


def test_both_kinds_of_key_certificate_are_candidates():
    found = stapled(table([(VLEK, b"vlek"), (VCEK, b"vcek")]))
    assert found["snp"]["vek"] == (b"vcek", b"vlek")


def test_a_chain_that_is_pem_already_stays_so():
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    found = stapled(table([(ASK, pem), (ARK, pem + b"\0")]))
    assert found["snp"]["chain"] == (pem + pem,)


@pytest.mark.parametrize(
    "nonsense", [b"\xff" * 48, CERTIFICATES[:30], bytes(200 * 1024), CERTIFICATES[:100] * 50]
)
def test_a_table_of_nonsense_cannot_stop_the_enclave(nonsense):
    assert collect(FakeTsm(aux=nonsense)).collateral == {}


@given(st.binary(max_size=2000))
def test_no_table_breaks_the_collector(raw):
    assert set(stapled(raw)) <= {"snp"}


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda data, level: snp_report(data, level)[:-1], "snp.report_size"),
        (lambda data, level: snp_report(data, level, tail=b"\0"), "snp.report_size"),
        (lambda data, level: b"\x09" + snp_report(data, level)[1:], "snp.report_version"),
    ],
)
def test_a_report_that_no_client_would_read_is_refused(make, code):
    with pytest.raises(EvidenceError) as caught:
        collect(FakeTsm(make=make))
    assert caught.value.code == code


# --- the device of older kernels ---------------------------------------------------------


def old_kernel(tmp_path, fake, **options):
    node = tmp_path / "sev-guest"
    node.touch()
    return GuestDevice(str(node), ioctl=fake, pause=lambda _: None, **options)


def test_the_structures_have_the_sizes_of_the_kernels_header():
    assert ctypes.sizeof(sev.ReportRequest) == 96
    assert ctypes.sizeof(sev.ReportResponse) == 4000
    assert ctypes.sizeof(sev.ExtReportRequest) == 112
    assert ctypes.sizeof(sev.GuestRequest) == 32
    # _IOWR: direction 3, size, 'S', number
    assert ctypes.sizeof(sev.GuestRequest) == (sev.GET_REPORT >> 16) & 0x3FFF
    assert 3 << 30 | 32 << 16 | ord("S") << 8 | 2 == sev.GET_EXT_REPORT


@pytest.mark.parametrize("vmpl", [0, 1])
def test_a_kernel_without_configfs_is_asked_through_the_device(tmp_path, vmpl):
    fake = FakeSevGuest(certificates=CERTIFICATES, vmpl=vmpl)
    collected = collect(FakeTsm(None), old_kernel(tmp_path, fake, vmpl=vmpl))
    assert collected.report[0x50:0x90] == DATA
    assert collected.collateral["snp"]["vek"] == (b"vcek",)
    assert fake.requests == ["ext"]


def test_a_kernel_with_configfs_is_never_asked_through_the_device(tmp_path):
    fake = FakeSevGuest()
    files = FakeTsm()
    files.faults["read", "outblob"] = [errno.ENOTTY]
    with pytest.raises(EvidenceError):
        collect(files, old_kernel(tmp_path, fake))
    assert fake.requests == []


def test_a_table_that_does_not_fit_is_done_without(tmp_path):
    fake = FakeSevGuest(certificates=bytes(20 * 1024))
    assert collect(FakeTsm(None), old_kernel(tmp_path, fake)).collateral == {}
    assert fake.requests == ["ext", "plain"]


@pytest.mark.parametrize("busy", ["errno", "host"])
def test_a_busy_security_processor_is_asked_again(tmp_path, busy):
    fake = FakeSevGuest(busy=busy, times=2)
    assert collect(FakeTsm(None), old_kernel(tmp_path, fake)).report[0x50:0x90] == DATA
    fake = FakeSevGuest(busy=busy, times=100)
    with pytest.raises(EvidenceError) as caught:
        collect(FakeTsm(None), old_kernel(tmp_path, fake))
    assert caught.value.code == "tsm.retries_exhausted"
    assert len(fake.requests) == 5


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"error": errno.ENOTTY}, "tsm.outblob"),
        ({"error": errno.EIO, "firmware": 0x16}, "tsm.outblob"),
        ({"firmware": 0x16}, "tsm.outblob"),
        ({"status": 0x27}, "tsm.outblob"),
        ({"length": 4000}, "tsm.outblob"),
        ({"length": 0}, "tsm.outblob"),
        ({"forge": bytes(64)}, "tsm.report_data_echo"),
    ],
)
def test_what_the_security_processor_refuses_is_refused(tmp_path, options, code):
    with pytest.raises(EvidenceError) as caught:
        collect(FakeTsm(None), old_kernel(tmp_path, FakeSevGuest(**options)))
    assert caught.value.code == code


def test_a_device_that_cannot_be_opened_says_why(tmp_path, monkeypatch):
    device = old_kernel(tmp_path, FakeSevGuest())

    def refuse(*_):
        raise failure(errno.EACCES)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(EvidenceError) as caught:
        device.report(DATA)
    assert caught.value.code == "tsm.permission"


def test_no_provider_and_no_device_is_one_clear_refusal():
    with pytest.raises(EvidenceError) as caught:
        collect(FakeTsm(None))
    assert caught.value.code == "tsm.no_provider"


@pytest.mark.parametrize("length", [0, 63, 65])
def test_the_device_is_given_exactly_64_bytes(tmp_path, length):
    with pytest.raises(ValueError):
        old_kernel(tmp_path, FakeSevGuest()).report(bytes(length))
